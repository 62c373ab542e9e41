"""The rack's door: programs that join it hand over the listener of their tty calls and get their environment."""

from __future__ import annotations

import array
import json
import logging
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

from hil.virtual.kernel.seccomp import TtyCalls
from hil.virtual.launch.rackbase import SOCKET_NAME

_log = logging.getLogger(__name__)
_JOIN = b"J"


class Supervisor:
    """Listens on ``base/supervisor.sock``."""

    def __init__(self, base: Path, calls: TtyCalls, environment: Mapping[str, str]) -> None:
        self._calls = calls
        self._environment = dict(environment)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(base / SOCKET_NAME))
        self._listener.listen(16)
        threading.Thread(target=self._run, name="supervisor", daemon=True).start()

    def close(self) -> None:
        """Nobody joins any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._welcome(connection)
                except OSError as error:
                    _log.warning("a program did not join the rack: %s", error)

    def _welcome(self, connection: socket.socket) -> None:
        message, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        if message != _JOIN or not descriptors:
            return
        self._calls.serve(descriptors[0])
        connection.sendall(json.dumps(self._environment).encode())


def hand_over(connection: socket.socket, listener: int) -> dict[str, str]:
    """The joining side: sends the listener, returns the environment to set."""
    connection.sendmsg([_JOIN], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
    answer = b""
    while data := connection.recv(65536):
        answer += data
    if not answer:
        raise ConnectionError("the rack ended before it answered")
    found: dict[str, str] = json.loads(answer)
    return found
