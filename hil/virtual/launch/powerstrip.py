"""The virtual rack's power strip: boards are unplugged and plugged in by a command, as a bench's switch would.

``hil rack power off 1-3`` asks the rack over a unix socket; a rig file names that command as a slot's power switch,
so the harness needs to know nothing of virtual boards.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from hil.errors import RigError, UsageError

VARIABLE = "HIL_RACK_POWER"
ACTIONS = ("on", "off", "reset")
_LIMIT = 4096
_TIMEOUT = 30.0

_log = logging.getLogger(__name__)


class Switchable(Protocol):
    """A board as its plug sees it."""

    def power_on(self) -> None: ...

    def power_off(self) -> None: ...

    def press_reset(self) -> None: ...


class PowerStrip:
    """Serves ``path`` until closed. One request a connection: ``{"do": "off", "port": "1-3"}``."""

    def __init__(self, path: Path, boards: Mapping[str, Switchable]) -> None:
        self._boards = dict(boards)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(8)
        threading.Thread(target=self._serve, name="power strip", daemon=True).start()

    def close(self) -> None:
        """Take no more requests."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_TIMEOUT)
            error = self._act(connection.recv(_LIMIT))
            connection.sendall(json.dumps({"error": error}).encode())

    def _act(self, line: bytes) -> str:
        """Do what a request says; why it was not done, or nothing."""
        try:
            request = json.loads(line)
            action, port = request["do"], request["port"]
        except (ValueError, KeyError, TypeError):
            return "a request is a JSON object with members do and port"
        board = self._boards.get(port) if isinstance(port, str) else None
        if board is None:
            return f"no board at port {port}; there are {', '.join(self._boards)}"
        if action not in ACTIONS:
            return f"no action {action!r}; there are {', '.join(ACTIONS)}"
        try:
            {"on": board.power_on, "off": board.power_off, "reset": board.press_reset}[action]()
        except Exception as error:  # whoever asked must hear of it; the rack lives on
            _log.exception("port %s, %s", port, action)
            return f"it failed: {error!r}"
        return ""


def switch(action: str, port: str) -> None:
    """The client's side. Raises ``UsageError`` outside a rack, ``RigError`` when the rack did not do it."""
    path = os.environ.get(VARIABLE)
    if not path:
        raise UsageError(
            "not inside a virtual rack",
            expected=f"{VARIABLE}, which the rack sets",
            hint="start the command with `hil rack run -- COMMAND`",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(path)
            connection.sendall(json.dumps({"do": action, "port": port}).encode())
            answer = json.loads(connection.recv(_LIMIT))
        except (OSError, ValueError) as error:
            raise RigError(
                f"the rack's power strip does not answer ({error})", hint="is the rack still up?"
            ) from error
    if answer["error"]:
        raise RigError(f"the rack did not switch port {port} {action}", found=answer["error"])
