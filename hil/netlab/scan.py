"""Reachability: which TCP and UDP ports of an address can be reached from here.

"Here" is wherever ``open_socket`` makes its sockets: this process, or a board's end of the lab network.
"""

from __future__ import annotations

import errno
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from hil.errors import NetworkError, UsageError

SocketFactory = Callable[[int, int], socket.socket]
ALL_PORTS = range(1, 65536)
_AT_ONCE = 512
_QUIET_ROUNDS = 2
_PENDING = (errno.EINPROGRESS, errno.EAGAIN)
_CLOSED = (errno.ECONNREFUSED, errno.ECONNRESET)
_UNREACHABLE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM)


def open_tcp_ports(
    address: str | None,
    ports: Iterable[int] = ALL_PORTS,
    timeout: float = 1.0,
    *,
    open_socket: SocketFactory = socket.socket,
) -> list[int]:
    """The ports of ``address`` that accept a connection, in order.

    ``timeout`` in seconds is given to every port on its own; a port that stays silent counts as not open.
    Raises ``NetworkError`` when this machine cannot make the connections at all, ``UsageError`` without an address.
    """
    return sorted(_TcpScan(_known(address), timeout, open_socket).run(ports))


def open_udp_ports(
    address: str | None,
    ports: Iterable[int] = ALL_PORTS,
    timeout: float = 1.0,
    *,
    payload: bytes = b"\0",
    open_socket: SocketFactory = socket.socket,
) -> list[int]:
    """The ports of ``address`` that do not answer ``payload`` with an ICMP port-unreachable, in order.

    UDP cannot tell an open port that says nothing from a firewall that drops. Hosts limit how many ICMP errors
    they send, so silent ports are asked again until two rounds bring no further refusal.
    ``timeout`` in seconds is how long a round waits for the last answers of each batch. Raises like the scan of TCP.
    """
    address = _known(address)
    answered: set[int] = set()
    silent = sorted(set(ports))
    quiet_rounds = 0
    while silent and quiet_rounds < _QUIET_ROUNDS:
        left: list[int] = []
        for batch in _batches(silent, _concurrency()):
            replied, mute = _udp_round(address, batch, timeout, payload, open_socket)
            answered |= replied
            left += mute
        quiet_rounds = quiet_rounds + 1 if len(left) == len(silent) else 0
        silent = left
    return sorted({*silent, *answered})


def _known(address: str | None) -> str:
    """A slot's address, which a rig file may leave out. Raises ``UsageError``."""
    if address is None:
        raise UsageError(
            "there is no address to scan",
            expected="the board's IPv4 address",
            hint='give its slot `address = "..."` in the rig file, or skip the test where board.address is None',
        )
    return address


class _TcpScan:
    """Non-blocking connects, a bounded number at a time."""

    def __init__(self, address: str, timeout: float, open_socket: SocketFactory) -> None:
        self._address = address
        self._timeout = timeout
        self._open_socket = open_socket
        self._selector = selectors.DefaultSelector()
        self._deadlines: dict[socket.socket, tuple[float, int]] = {}
        self._found: set[int] = set()

    def run(self, ports: Iterable[int]) -> set[int]:
        limit = _concurrency()
        with self._selector:
            try:
                for port in ports:
                    self._start(port)
                    while len(self._deadlines) >= limit:
                        self._wait()
                while self._deadlines:
                    self._wait()
            finally:
                for connection in self._deadlines:
                    connection.close()
        return self._found

    def _start(self, port: int) -> None:
        connection = self._open_socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            result = connection.connect_ex((self._address, port))
        except BaseException:
            connection.close()
            raise
        if result == errno.ENETUNREACH:
            connection.close()
            raise _no_route(self._address)
        if result in _PENDING:
            self._selector.register(connection, selectors.EVENT_WRITE)
            # a dict keeps its order, so the first entry always has the nearest deadline
            self._deadlines[connection] = (time.monotonic() + self._timeout, port)
        else:
            self._judge(connection, port, result)

    def _wait(self) -> None:
        nearest, _ = next(iter(self._deadlines.values()))
        for key, _ in self._selector.select(max(nearest - time.monotonic(), 0)):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            _, port = self._deadlines.pop(connection)
            self._selector.unregister(connection)
            self._judge(connection, port, connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        now = time.monotonic()
        late = [c for c, (deadline, _) in self._deadlines.items() if deadline <= now]
        for connection in late:
            del self._deadlines[connection]
            self._selector.unregister(connection)
            connection.close()

    def _judge(self, connection: socket.socket, port: int, error: int) -> None:
        with connection:
            if error == 0:
                # A connect to one's own address may pick the target port as its source and meet itself.
                if connection.getsockname() != connection.getpeername():
                    self._found.add(port)
            elif error not in (*_CLOSED, *_UNREACHABLE):
                raise NetworkError(f"cannot scan {self._address} port {port}", found=errno.errorcode[error])


def _udp_round(
    address: str, ports: Sequence[int], timeout: float, payload: bytes, open_socket: SocketFactory
) -> tuple[set[int], list[int]]:
    """Ports that replied with data, and ports that stayed mute; the others refused."""
    with selectors.DefaultSelector() as selector:
        waiting: dict[socket.socket, int] = {}
        replied: set[int] = set()
        try:
            for port in ports:
                probe = open_socket(socket.AF_INET, socket.SOCK_DGRAM)
                waiting[probe] = port
                probe.setblocking(False)
                _send_probe(probe, address, port, payload)
                selector.register(probe, selectors.EVENT_READ)
            while waiting and (ready := selector.select(timeout)):
                for key, _ in ready:
                    probe = key.fileobj  # type: ignore[assignment]
                    selector.unregister(probe)
                    port = waiting.pop(probe)
                    if _replies(probe):
                        replied.add(port)
        finally:
            for probe in waiting:
                probe.close()
        return replied, list(waiting.values())


def _send_probe(probe: socket.socket, address: str, port: int, payload: bytes) -> None:
    try:
        probe.connect((address, port))
        probe.send(payload)
    except OSError as error:
        if error.errno == errno.ENETUNREACH:
            raise _no_route(address) from error
        raise NetworkError(f"cannot scan {address} port {port}", found=str(error)) from error


def _no_route(address: str) -> NetworkError:
    return NetworkError(f"cannot scan {address}", found="no route to it from here")


def _replies(probe: socket.socket) -> bool:
    with probe:
        try:
            probe.recv(1)
        except ConnectionRefusedError:
            return False
        return True


def _concurrency() -> int:
    """How many sockets at once leave room for the rest of the process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _AT_ONCE if soft == resource.RLIM_INFINITY else max(min(_AT_ONCE, soft // 4), 16)


def _batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
