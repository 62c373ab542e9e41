"""Control sockets: a unix socket for one user, and requests of one JSON object a line, each checked field by field."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from hil.errors import HilError, WireError

_PEER_CREDENTIALS = struct.Struct("iII")
_MAX_PATH = 107
_SHOWN = 120  # characters of a value in an error

Fields = dict[str, object]


def listen(
    path: Path, what: str, error: type[HilError], owner: tuple[int, int] | None = None
) -> socket.socket:
    """A listening socket on ``path`` for ``owner`` (uid, gid; default: this process's own), mode 0600.

    ``what`` is who listens, in words. Raises ``error`` when another one answers there, or the path cannot be used.
    """
    if len(os.fsencode(path)) > _MAX_PATH:
        raise error(
            "the path of the socket is too long", expected=f"up to {_MAX_PATH} bytes", found=str(path)
        )
    _remove_stale(path, what, error)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        # Nobody can connect before listen(), so the mode is right when the door opens.
        path.chmod(0o600)
        if owner not in (None, (os.getuid(), os.getgid())):
            os.chown(path, *owner)
        listener.listen()
    except OSError as problem:
        listener.close()
        raise error(f"cannot listen on {path}", found=str(problem)) from problem
    return listener


def _remove_stale(path: Path, what: str, error: type[HilError]) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise error(f"another {what} answers on {path}", hint="use it, or end it first")


def peer_uid(connection: socket.socket) -> int:
    """Whose process is at the other end."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    uid: int = _PEER_CREDENTIALS.unpack(data)[1]
    return uid


def shut(connection: socket.socket) -> None:
    """End a connection or a listener, so that whoever blocks on it wakes; it may have ended already."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def parse_words(line: bytes, words: Mapping[str, tuple[str, ...]]) -> tuple[str, Fields]:
    """The word after ``do`` and the other fields of a request; ``words`` says which fields each word may have.

    Raises ``WireError`` for what is no JSON object, an unknown word, or a field that the word does not have.
    """
    fields = parse_object(line)
    name = fields.pop("do", None)
    if not isinstance(name, str) or name not in words:
        raise WireError("unknown request", expected=f"do: {', '.join(words)}", found=shown(name))
    strangers = sorted(set(fields) - set(words[name]))
    if strangers:
        raise WireError(
            f"{name} has no field {shown(strangers[0])}", expected=", ".join(words[name]) or "no field"
        )
    return name, fields


def parse_object(line: bytes) -> Fields:
    """The JSON object in ``line``. Raises ``WireError``."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError("not a request", expected="a JSON object", found=str(error)[:_SHOWN]) from None
    if not isinstance(value, dict):
        raise WireError("not a request", expected="a JSON object", found=shown(value))
    return value


def refusal(error: HilError) -> Fields:
    """The answer that says what is wrong."""
    return {
        "ok": False,
        "what": error.what,
        "expected": error.expected,
        "found": error.found,
        "hint": error.hint,
    }


def shown(value: object) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
