"""On which line of a TOML file each key stands: ``tomllib`` does not tell, and a mistake wants its line.

The text must be one that ``tomllib`` has read: what is valid needs no second judge here, so this only walks over keys
and values. TOML 1.0.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence

Path = tuple[str | int, ...]
"""Keys and, in arrays, positions from 0: ``("slots", 1, "port")``."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"'[^']*'")
_LONG = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}(?!")' + r"|'''.*?'{3,5}(?!')", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]*")


class TomlLines:
    """Lines (from 1) of what a TOML text defines."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._table: Path = ()
        self._scan()

    def below(self, *path: str | int) -> TomlLines:
        """The same for the table at ``path``, whose keys then begin there."""
        inner = TomlLines("")
        depth = len(path)
        inner.lines = {
            place[depth:]: line for place, line in self.lines.items() if place[:depth] == tuple(path)
        }
        return inner

    def line(self, path: Sequence[str | int]) -> int | None:
        """Where ``path`` is defined, or the innermost table around it; ``None`` when there is no such place."""
        known = self.lines.get(())
        found: Path = ()
        for part in path:
            # Steps that are no keys, such as the names of alternatives in a model, are passed over.
            if (*found, part) in self.lines:
                found = (*found, part)
                known = self.lines[found]
        return known

    def _scan(self) -> None:
        arrays: dict[Path, int] = {}
        while self._skip():
            line = self._line()
            if self._take("[["):
                path = self._resolved(self._key(), arrays)
                arrays[path] = arrays.get(path, -1) + 1
                self._table = (*path, arrays[path])
                self._note(self._table, line)
                self._take("]]")
            elif self._take("["):
                self._table = self._resolved(self._key(), arrays)
                self._note(self._table, line)
                self._take("]")
            else:
                self._pair(self._table)

    @staticmethod
    def _resolved(key: Path, arrays: dict[Path, int]) -> Path:
        """The path of a header: in an array of tables it means the last one, save the one it opens itself."""
        path: Path = ()
        for part in key[:-1]:
            path = (*path, part)
            if path in arrays:
                path = (*path, arrays[path])
        return (*path, key[-1])

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = (*table, *self._key())
        self._note(path, line, least=len(table))
        self._take("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        if self._take("["):
            number = 0
            while not self._take("]"):
                self._expect_more()
                self._note((*path, number), self._line())
                self._value((*path, number))
                self._take(",")
                number += 1
        elif self._take("{"):
            while not self._take("}"):
                self._pair(path)
                self._take(",")
        else:
            self._scalar()

    def _expect_more(self) -> None:
        if not self._skip():
            raise ValueError("the text ends inside an array: it is not TOML")

    def _scalar(self) -> None:
        for pattern in (_LONG, _BASIC, _LITERAL, _SCALAR):
            match = pattern.match(self._text, self._at)
            if match is not None:
                self._at = match.end()
                return

    def _key(self) -> Path:
        parts: list[str | int] = []
        while True:
            self._skip()
            parts.append(self._key_part())
            if not self._take("."):
                return tuple(parts)

    def _key_part(self) -> str:
        for pattern, read in ((_BARE, str), (_BASIC, _unquoted), (_LITERAL, _inside)):
            match = pattern.match(self._text, self._at)
            if match is not None:
                self._at = match.end()
                return read(match[0])
        raise ValueError(f"no key at line {self._line()}: the text is not TOML")

    def _skip(self) -> bool:
        """Pass over blanks, line ends and comments; whether anything follows."""
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at < len(self._text)

    def _take(self, token: str) -> bool:
        self._skip()
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _line(self) -> int:
        self._skip()
        return self._text.count("\n", 0, self._at) + 1

    def _note(self, path: Path, line: int, least: int = 0) -> None:
        """Keep the line of ``path`` and of tables around it that it makes."""
        for depth in range(least + 1, len(path) + 1):
            self.lines.setdefault(path[:depth], line)


def _inside(quoted: str) -> str:
    return quoted[1:-1]


def _unquoted(quoted: str) -> str:
    text: str = tomllib.loads(f"key = {quoted}")["key"]
    return text
