"""udevd's control socket: ``udevadm settle`` and ``udevadm control`` ask there whether it lives.

A client sends messages, the last of type 0, and waits until the connection is closed (systemd, src/udev/udev-ctrl.c).
Whatever it orders, there are no rules to load and no workers to stop.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path

_VERSION_SIZE = 16
_HEADER = struct.Struct("=Ii")  # magic, type; behind the version
_MAGIC = 0xDEAD1DEA
_END = 0
_LARGEST = 4096
_PATIENCE = 30.0  # seconds for a client that connects and says nothing


class UdevControl:
    """Answers at ``path`` until closed."""

    def __init__(self, path: Path = Path("/run/udev/control")) -> None:
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(8)
        threading.Thread(target=self._serve, name="udev-control", daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), name="udev-client", daemon=True).start()

    @staticmethod
    def _answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_PATIENCE)
            while message := connection.recv(_LARGEST):
                if is_last(message):
                    return


def is_last(message: bytes) -> bool:
    """Whether nothing follows ``message``: it says so, or it is none of udev's."""
    if len(message) < _VERSION_SIZE + _HEADER.size:
        return True
    magic, kind = _HEADER.unpack_from(message, _VERSION_SIZE)
    return bool(magic != _MAGIC or kind == _END)
