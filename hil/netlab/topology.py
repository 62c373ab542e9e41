"""The lab network: boards behind a router, the cloud in front of it.

::

    board netns      eth0  10.77.i.2/30
                       |
    router netns    hilboard{i} 10.77.i.1/30        i = 1, 2, ... in the order of the boards
                    hilwan0     198.18.0.1/24
                       |
    bench netns     hilcloud0   198.18.0.2/24       where the cloud and the tests run

Plain routing. Address translation, when it comes, belongs on ``hilwan0`` in the router, after the firewall.
Everything hangs on descriptors: when the process ends, in whatever way, the kernel removes all of it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from types import TracebackType

from hil.errors import NetworkError, UsageError
from hil.netlab.namespaces import NetworkNamespace

CLOUD_ADDRESS = "198.18.0.2"
CLOUD_INTERFACE = "hilcloud0"
WAN_ADDRESS = "198.18.0.1"
WAN_INTERFACE = "hilwan0"
BOARDS_NETWORK = "10.77.0.0/16"
BOARD_INTERFACE = "eth0"
MAX_BOARDS = 254


class BoardNetwork:
    """A board's own end of the network: what its radio is connected to.

    ``address`` is its IPv4 address; sockets opened here see only what the router lets through.
    """

    def __init__(self, slot: str, index: int, namespace: NetworkNamespace, hosts: Mapping[str, str]) -> None:
        self.slot = slot
        self.index = index
        self.address = f"10.77.{index}.2"
        self.gateway = f"10.77.{index}.1"
        self.namespace = namespace
        self._hosts = hosts

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> socket.socket:
        """A new blocking socket inside the board's namespace, usable from any thread."""
        return self.namespace.socket(family, type)

    def resolve(self, host: str) -> str | None:
        """The IPv4 address of ``host``: a literal address, or a name that the lab knows; else ``None``."""
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            return self._hosts.get(host.rstrip(".").lower())


class Lab:
    """The router and one namespace per board, joined to the namespace of the thread that calls ``create``.

    ``hosts`` are the names (lower case) that boards can resolve, beside literal addresses.
    """

    def __init__(self, hosts: Mapping[str, str] | None = None) -> None:
        self._hosts = dict(hosts or {})
        self._bench: NetworkNamespace | None = None
        self._router: NetworkNamespace | None = None
        self._boards: dict[str, BoardNetwork] = {}

    def create(self, boards: Sequence[str]) -> None:
        """Build the network for the slots named in ``boards``; the i-th gets 10.77.i.2.

        Needs CAP_NET_ADMIN and CAP_SYS_ADMIN over the current network namespace. Raises ``NetworkError``, and
        leaves nothing behind then; ``UsageError`` for wrong slot names.
        """
        if self._router is not None:
            raise UsageError("this lab network exists already", hint="close it first, or make another Lab")
        if len(set(boards)) != len(boards) or len(boards) > MAX_BOARDS:
            raise UsageError(
                "wrong board slots", expected=f"up to {MAX_BOARDS} different names", found=str(boards)
            )
        try:
            self._bench = NetworkNamespace.current()
            self._router = NetworkNamespace.create()
            for index, slot in enumerate(boards, start=1):
                self._boards[slot] = BoardNetwork(slot, index, NetworkNamespace.create(), self._hosts)
            self._connect(self._bench, self._router)
        except BaseException:
            self.close()
            raise

    @property
    def router(self) -> NetworkNamespace:
        """The router's namespace: the place for firewall rules and captures."""
        if self._router is None:
            raise NetworkError("the lab network is not up", hint="call Lab.create first")
        return self._router

    def board_network(self, slot: str) -> BoardNetwork:
        """The network of the board in ``slot``. Raises ``UsageError`` for a slot that was not created."""
        try:
            return self._boards[slot]
        except KeyError:
            raise UsageError(
                f"the lab has no slot {slot!r}", expected=", ".join(self._boards) or "none"
            ) from None

    def close(self) -> None:
        """Remove the network. Board namespaces live on until the sockets opened in them are closed."""
        if self._router is not None:
            _remove_cloud_link(self._router)
        for board in self._boards.values():
            board.namespace.close()
        self._boards.clear()
        for namespace in (self._router, self._bench):
            if namespace is not None:
                namespace.close()
        self._router = self._bench = None

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, bench: NetworkNamespace, router: NetworkNamespace) -> None:
        boards = list(self._boards.values())
        for namespace in (router, *(board.namespace for board in boards)):
            _quiet(namespace)
        _answer_every_probe(bench)
        router.set_sysctl("ipv4/ip_forward", 1)
        bench.ip_batch(_cloud_lines(router), pass_fds=[router.fd])
        router.ip_batch(_router_lines(boards), pass_fds=[board.namespace.fd for board in boards])
        for board in boards:
            board.namespace.ip_batch(_board_lines(board))


def _remove_cloud_link(router: NetworkNamespace) -> None:
    # The kernel removes namespaces in the background; without this a new lab could meet the old link.
    try:
        router.ip_batch([f"link delete {WAN_INTERFACE}"])
    except NetworkError:
        return  # creation failed before the link existed


def _quiet(namespace: NetworkNamespace) -> None:
    _answer_every_probe(namespace)
    try:
        namespace.set_sysctl("ipv6/conf/default/disable_ipv6", 1)  # no neighbour chatter in captures
    except NetworkError:
        return  # a kernel without IPv6 is quiet already


def _answer_every_probe(namespace: NetworkNamespace) -> None:
    # A rejected or closed UDP port must refuse as often as it is asked; the default is one ICMP error a second.
    namespace.set_sysctl("ipv4/icmp_ratelimit", 0)
    try:
        namespace.set_sysctl("ipv4/icmp_msgs_burst", 100_000)
        namespace.set_sysctl("ipv4/icmp_msgs_per_sec", 1_000_000)
    except NetworkError:
        return  # older kernels have one bound for the whole machine, out of reach here


def _cloud_lines(router: NetworkNamespace) -> list[str]:
    peer = f"peer name {WAN_INTERFACE} netns /proc/self/fd/{router.fd}"
    return [
        "link set lo up",
        f"link add {CLOUD_INTERFACE} type veth {peer}",
        f"address add {CLOUD_ADDRESS}/24 dev {CLOUD_INTERFACE}",
        f"link set {CLOUD_INTERFACE} up",
        f"route add {BOARDS_NETWORK} via {WAN_ADDRESS}",
    ]


def _router_lines(boards: Sequence[BoardNetwork]) -> list[str]:
    lines = [
        "link set lo up",
        f"address add {WAN_ADDRESS}/24 dev {WAN_INTERFACE}",
        f"link set {WAN_INTERFACE} up",
    ]
    for board in boards:
        interface = f"hilboard{board.index}"
        peer = f"peer name {BOARD_INTERFACE} netns /proc/self/fd/{board.namespace.fd}"
        lines += [
            f"link add {interface} type veth {peer}",
            f"address add {board.gateway}/30 dev {interface}",
            f"link set {interface} up",
        ]
    return lines


def _board_lines(board: BoardNetwork) -> list[str]:
    return [
        "link set lo up",
        f"address add {board.address}/30 dev {BOARD_INTERFACE}",
        f"link set {BOARD_INTERFACE} up",
        f"route add default via {board.gateway}",
    ]
