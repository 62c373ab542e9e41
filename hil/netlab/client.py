"""The client of the network service: what a test asks of the path between boards and cloud.

The same for a virtual rack (``HIL_NETWORK`` names its socket) and a bench (``hil network serve``).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from hil.errors import NetworkError

_TIMEOUT = 30.0
_MAX_ANSWER = 64 * 1024 * 1024


class Network:
    """One lease on the network. Thread-safe; closing it, or dying, undoes everything that it did.

    ``udp`` and ``tcp`` are ports on the cloud's side, ``board`` is a board's IPv4 address or None for all boards.
    Counters count packets since this object was connected and are the firewall's own; both directions together.
    """

    def __init__(self, connection: socket.socket, path: Path) -> None:
        self.path = path
        self.capture_lost = 0
        self._lock = threading.Lock()
        self._connection = connection
        self._stream = connection.makefile("rwb")

    @classmethod
    def connect(cls, path: str | os.PathLike[str]) -> Network:
        """Connect to the service on the unix socket ``path``. Raises ``NetworkError``."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(os.fspath(path))
        except OSError as error:
            connection.close()
            raise NetworkError(
                f"no network service on {os.fspath(path)}",
                found=str(error),
                hint="start the tests with `hil rack run`, or `sudo hil network serve` on a bench",
            ) from error
        network = cls(connection, Path(path))
        network.status()  # a service that refuses this user says so here, not in the middle of a test
        return network

    def block(
        self,
        *,
        udp: int | None = None,
        tcp: int | None = None,
        board: str | None = None,
        action: str = "drop",
    ) -> None:
        """Stop these ports, or without a port everything, also in sessions that are up; both directions.

        ``action`` "drop" is silence; "reject" answers with an ICMP port-unreachable (UDP) or a reset (TCP).
        """
        self._ask("block", udp=udp, tcp=tcp, board=board, action=action)

    def allow_only(self, *, udp: int | None = None, tcp: int | None = None, board: str | None = None) -> None:
        """Stop everything but these ports; a second call for the same board replaces the first."""
        self._ask("allow_only", udp=udp, tcp=tcp, board=board)

    def clear(self) -> None:
        """Take this lease's rules away. What they stopped can still be asked."""
        self._ask("clear")

    def dropped(self, *, udp: int | None = None, tcp: int | None = None, board: str | None = None) -> int:
        """Packets that this lease's rules stopped (dropped or rejected); without a port, of all ports."""
        return self._total("stopped", "dropped", udp, tcp, board)

    def passed(self, *, udp: int | None = None, tcp: int | None = None, board: str | None = None) -> int:
        """Packets that the firewall let through; without a port, of all ports."""
        return self._total("passed", "passed", udp, tcp, board)

    def counters(self) -> list[dict[str, Any]]:
        """One row per board, protocol, cloud port and direction ("up" is from the board).

        Keys: board, protocol, port, direction, passed, passed_bytes, dropped, dropped_bytes (IP bytes).
        """
        rows: list[dict[str, Any]] = self._ask("counters")["counters"]
        return rows

    def status(self) -> dict[str, Any]:
        """What serves here: kind ("lab" or "host"), boards (their network), clients, rules, capturing,
        time (since 1970).
        """
        return {key: value for key, value in self._ask("status").items() if key != "ok"}

    def capture_start(self, *, snaplen: int | None = None, limit: int | None = None) -> None:
        """Start capturing the boards' links: ``snaplen`` bytes of each frame, ``limit`` bytes in all."""
        self._ask("capture_start", snaplen=snaplen, limit=limit)

    def capture_stop(self) -> bytes:
        """End the capture; a pcap file. ``capture_lost`` then says how many frames its bounds left out."""
        with self._lock:
            answer = self._exchange("capture_stop")
            data = self._guarded(lambda: self._stream.read(answer["bytes"]))
            if len(data) != answer["bytes"]:
                raise self._gone("the capture ended early")
        self.capture_lost = answer["lost"]
        return data

    def close(self) -> None:
        """End the lease: its rules and capture are removed. Idempotent."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._connection.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _total(self, kind: str, column: str, udp: int | None, tcp: int | None, board: str | None) -> int:
        wanted = {("udp", udp), ("tcp", tcp)} if (udp, tcp) != (None, None) else None
        return sum(
            row[column]
            for row in self._ask("counters", only=kind)["counters"]
            if (wanted is None or (row["protocol"], row["port"]) in wanted) and board in (None, row["board"])
        )

    def _ask(self, name: str, **fields: int | str | None) -> dict[str, Any]:
        with self._lock:
            return self._exchange(name, **fields)

    def _exchange(self, name: str, **fields: int | str | None) -> dict[str, Any]:
        request = json.dumps({"do": name, **fields}).encode() + b"\n"
        line = self._guarded(lambda: self._round_trip(request))
        if not line.endswith(b"\n"):
            raise self._gone("it closed the connection")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise NetworkError(
                answer["what"], expected=answer["expected"], found=answer["found"], hint=answer["hint"]
            )
        return answer

    def _round_trip(self, request: bytes) -> bytes:
        self._stream.write(request)
        self._stream.flush()
        return self._stream.readline(_MAX_ANSWER)

    def _guarded(self, function: Callable[[], bytes]) -> bytes:
        try:
            return function()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            raise self._gone(str(error)) from error

    def _gone(self, found: str) -> NetworkError:
        return NetworkError(
            f"the network service on {self.path} is gone",
            found=found,
            hint="its rules are gone too; look at the output of the process that ran it",
        )
