"""The project that a command runs in: where its root is and what its ``pyproject.toml`` says to ``hil``.

::

    [tool.hil]
    rig = "rigs/bench.toml"        # the rig file to use
    applications = ["firmware"]    # folders that hold <application>/twin.py
    app = "greenhouse"             # what boards run for tests that do not say; without it, whatever runs already

Paths are relative to that ``pyproject.toml``. Nothing is found relative to the working directory: a command in
``suites/`` means the same rig, state and reports as one at the root.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from hil.errors import UsageError
from hil.rig.mistakes import Table, mistakes_of, report
from hil.rig.tomllines import TomlLines

STATE = ".hil"
_SETTINGS = "pyproject.toml"
_MARKS = ("pytest.ini", _SETTINGS, ".git")


@dataclass(frozen=True, slots=True)
class Project:
    """``rig`` is the rig file that the project names, ``applications`` its folders with twins; all paths absolute.

    ``app`` names the application (``greenhouse``, ``greenhouse@2``) of tests that name none.
    """

    root: Path
    rig: Path | None = None
    applications: tuple[Path, ...] = ()
    app: str | None = None

    def state(self, name: str) -> Path:
        """Where runs keep what outlives them: ``cloud``, ``virtual`` (boards' memory), ``images``."""
        return self.root / STATE / name

    @property
    def reports(self) -> Path:
        """Where summary and results go."""
        return self.root / "reports"


class _Settings(Table):
    """The table ``[tool.hil]``."""

    rig: Path | None = None
    applications: tuple[Path, ...] = ()
    app: str | None = Field(default=None, min_length=1)


def find_project(start: Path | None = None) -> Project:
    """The project around ``start`` (default: the working directory).

    Its root is the nearest folder upwards whose ``pyproject.toml`` has ``[tool.hil]``, else the nearest one with a
    ``pytest.ini``, ``pyproject.toml`` or ``.git``, else ``start`` itself. Raises ``UsageError`` that names every
    mistake in ``[tool.hil]``.
    """
    here = (start or Path.cwd()).resolve()
    folders = (here, *here.parents)
    for folder in folders:
        path = folder / _SETTINGS
        text = _read(path)
        table = _table(path, text)
        if table is not None:
            return _project(path, text, table)
    marked = (folder for folder in folders if any((folder / mark).exists() for mark in _MARKS))
    return Project(next(marked, here))


def shown(path: Path, here: Path | None = None) -> str:
    """A path as people read it: from ``here`` (default: the working directory) when it lies below."""
    start = here or Path.cwd()
    return str(path.relative_to(start) if path.is_relative_to(start) else path)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""  # none, or none that this user may read: not the project's


def _table(path: Path, text: str) -> Any:
    """What ``[tool.hil]`` holds, ``None`` without it."""
    if "hil" not in text:
        return None
    try:
        tool = tomllib.loads(text).get("tool")
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML", found=str(error)) from error
    return tool.get("hil") if isinstance(tool, dict) else None


def _project(path: Path, text: str, table: Any) -> Project:
    root = path.parent
    try:
        settings = _Settings.model_validate(table)
    except ValidationError as error:
        lines = TomlLines(text).below("tool", "hil")
        found = mistakes_of(error, _Settings)
        raise UsageError(f"[tool.hil] of {path} is wrong", found=report(path, lines, found)) from error
    rig = root / settings.rig if settings.rig is not None else None
    return Project(root, rig, tuple(root / folder for folder in settings.applications), settings.app)
