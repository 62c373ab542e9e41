"""The network service: firewall and captures for clients without privileges, over one unix socket.

Each connection is a lease. What its client made goes when the connection ends, in whatever way; the table
itself goes when this process ends. Requests are those of ``hil.netlab.requests``; the socket belongs to one
user (mode 0600), and the peer's uid is checked too.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from hil.clock import Clock, SystemClock
from hil.controlsocket import listen, peer_uid, refusal, shut
from hil.errors import HilError, NetworkError
from hil.netlab.capture import Capture, Captured, InterfaceFilter
from hil.netlab.firewall import HOST_HOOKS, ROUTER_HOOKS, Count, Direction, Flow, Kind, boards_network
from hil.netlab.leases import Firewall, Lease
from hil.netlab.namespaces import NetworkNamespace
from hil.netlab.requests import (
    MAX_LINE,
    AllowOnlyRequest,
    BlockRequest,
    CaptureStart,
    CountersRequest,
    Request,
    parse_request,
)
from hil.netlab.topology import BOARDS_NETWORK, WAN_INTERFACE, Lab

Answer = dict[str, object]


class NetworkService:
    """Serves the firewall of one namespace until closed; threads of its own."""

    def __init__(
        self,
        path: Path,
        firewall: Firewall,
        namespace: NetworkNamespace,
        keep: InterfaceFilter,
        *,
        kind: str,
        owner: tuple[int, int] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Listen on ``path``, a socket for ``owner`` (uid, gid; default: this process's own).

        Takes over ``firewall`` and closes it in ``close``. ``keep`` says which interfaces a capture sees, ``kind``
        is what ``status`` answers. ``clock`` is what captures are stamped by, the real time unless told. Raises
        ``NetworkError`` when another service answers on ``path``.
        """
        self.path = path
        self.kind = kind
        self.firewall = firewall
        self.namespace = namespace
        self.keep = keep
        self.clock: Clock = clock or SystemClock()
        self._owner = owner or (os.getuid(), os.getgid())
        self._clients: dict[_Client, threading.Thread] = {}
        self._changed = threading.Condition()
        self._listener = listen(path, "network service", NetworkError, self._owner)
        self._acceptor = threading.Thread(target=self._accept, name="network-service", daemon=True)
        self._acceptor.start()

    @classmethod
    def for_lab(cls, lab: Lab, path: Path, clock: Clock | None = None) -> NetworkService:
        """The service of a virtual rack: its router's firewall and the boards' links."""
        firewall = Firewall(lab.router, boards_network(BOARDS_NETWORK), ROUTER_HOOKS)
        outside = {WAN_INTERFACE, "lo"}
        return _start(
            firewall,
            lambda: cls(path, firewall, lab.router, lambda n: n not in outside, kind="lab", clock=clock),
        )

    @classmethod
    def for_host(
        cls,
        path: Path,
        boards: str,
        *,
        interface: str | None = None,
        owner: tuple[int, int] | None = None,
        clock: Clock | None = None,
    ) -> NetworkService:
        """The service of a bench: this machine's own firewall; ``boards`` is the network that holds the boards.

        Captures see ``interface``, or all but ``lo``.
        """
        here = NetworkNamespace.current()
        firewall = Firewall(here, boards_network(boards), HOST_HOOKS)

        def keep(name: str) -> bool:
            return name == interface if interface is not None else name != "lo"

        return _start(
            firewall, lambda: cls(path, firewall, here, keep, kind="host", owner=owner, clock=clock)
        )

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        with self._changed:
            return len(self._clients)

    def wait_clients(self, count: int, timeout: float) -> bool:
        """Wait until ``count`` clients are connected and all things of the others are gone; False if not in time.

        ``timeout`` in seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: len(self._clients) == count, timeout)

    def close(self) -> None:
        """End all connections, remove the table and the socket. Idempotent."""
        shut(self._listener)
        self._acceptor.join()
        with self._changed:
            remaining = dict(self._clients)
        for client, thread in remaining.items():
            shut(client.connection)
            thread.join()
        self._listener.close()
        self.firewall.close()
        self.path.unlink(missing_ok=True)

    def left(self, client: _Client) -> None:
        """Called by a client's thread when all of the client's things are gone."""
        with self._changed:
            self._clients.pop(client, None)
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if peer_uid(connection) not in (0, self._owner[0]):
                connection.close()
                continue
            client = _Client(self, connection)
            thread = threading.Thread(target=client.run, name="network-client", daemon=True)
            with self._changed:
                self._clients[client] = thread
                self._changed.notify_all()
            thread.start()


class _Client:
    """One connection: reads requests, answers them, and undoes everything at its end."""

    def __init__(self, service: NetworkService, connection: socket.socket) -> None:
        self.connection = connection
        self._service = service
        self._lease: Lease | None = None
        self._capture: Capture | None = None

    def run(self) -> None:
        try:
            with self.connection, self.connection.makefile("rb") as stream:
                self._lease = self._service.firewall.lease()
                self._serve(stream)
        except (OSError, NetworkError):
            pass  # the client went away, or the service is closing
        finally:
            self._undo()
            self._service.left(self)

    def _serve(self, stream: BinaryIO) -> None:
        while line := stream.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                # the rest of this line cannot be told from requests, so the connection ends here
                error = NetworkError("the request is too long", expected=f"up to {MAX_LINE} bytes")
                _send(self.connection, refusal(error))
                return
            captured: list[Captured] = []
            try:
                answer = self._answer(parse_request(line), captured)
            except HilError as error:
                answer = refusal(error)
            _send(self.connection, answer, *(capture.data for capture in captured))

    def _answer(self, request: Request, captured: list[Captured]) -> Answer:
        lease = self._lease
        if lease is None:
            raise NetworkError("this connection has no lease")
        if isinstance(request, BlockRequest):
            for_all = request.blocks
            lease.change(lambda rules: rules.with_blocks(for_all))
        elif isinstance(request, AllowOnlyRequest):
            allow = request.allow
            lease.change(lambda rules: rules.with_allow(allow))
        elif isinstance(request, CaptureStart):
            self._start_capture(request)
        elif isinstance(request, CountersRequest):
            return {"ok": True, "counters": _counters(lease, request.kinds)}
        elif request.name == "clear":
            lease.clear()
        elif request.name == "status":
            return {"ok": True, **self._status(lease)}
        else:
            captured.append(self._stop_capture())
            return {
                "ok": True,
                "bytes": len(captured[0].data),
                "frames": captured[0].frames,
                "lost": captured[0].lost,
            }
        return {"ok": True}

    def _status(self, lease: Lease) -> Mapping[str, object]:
        return {
            "kind": self._service.kind,
            "boards": str(self._service.firewall.boards),
            "clients": self._service.clients,
            "rules": len(lease.rules.blocks) + len(lease.rules.allows),
            "capturing": self._capture is not None,
            "time": self._service.clock.time(),
        }

    def _start_capture(self, request: CaptureStart) -> None:
        if self._capture is not None:
            raise NetworkError("a capture is running already", hint="capture_stop() it first")
        clock = self._service.clock
        self._capture = Capture(
            self._service.namespace,
            self._service.keep,
            snaplen=request.snaplen,
            limit=request.limit,
            ahead=lambda: clock.time() - time.time(),
        )

    def _stop_capture(self) -> Captured:
        capture, self._capture = self._capture, None
        if capture is None:
            raise NetworkError("no capture is running", hint="capture_start() first")
        return capture.stop()

    def _undo(self) -> None:
        if self._capture is not None:
            self._capture.stop()
        if self._lease is not None:
            with contextlib.suppress(NetworkError):
                self._lease.close()


def _start(firewall: Firewall, make: Callable[[], NetworkService]) -> NetworkService:
    try:
        return make()
    except BaseException:
        firewall.close()
        raise


def _send(connection: socket.socket, answer: Answer, *blobs: bytes) -> None:
    connection.sendall(json.dumps(answer).encode() + b"\n")
    for blob in blobs:
        connection.sendall(blob)


def _counters(lease: Lease, kinds: tuple[Kind, ...]) -> list[dict[str, object]]:
    counts = {kind: lease.counters(kind) if kind in kinds else {} for kind in Kind}
    nothing = Count(0, 0)
    rows: list[dict[str, object]] = []
    for flow in sorted(set().union(*counts.values()), key=_order):
        passed = counts[Kind.PASSED].get(flow, nothing)
        stopped = counts[Kind.STOPPED].get(flow, nothing)
        rows.append(
            {
                "board": flow.board,
                "protocol": flow.service.protocol.value,
                "port": flow.service.port,
                "direction": flow.direction.value,
                "passed": passed.packets,
                "passed_bytes": passed.bytes,
                "dropped": stopped.packets,
                "dropped_bytes": stopped.bytes,
            }
        )
    return rows


def _order(flow: Flow) -> tuple[str, str, int, bool]:
    return (flow.board, flow.service.protocol, flow.service.port, flow.direction is Direction.DOWN)
