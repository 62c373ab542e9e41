"""Firewall rules as text, and the firewall's counters read back. Pure: no I/O.

One table ``inet hil``. Its base chains ask every lease's chain first, then count what passed. A lease (one
connected client) has a chain of its rules and sets that the kernel fills itself: for each board, protocol and
cloud port how many packets and bytes its rules ``stopped``, and how many ``passed`` all leases while it was
there; ``up`` (from the board) and ``down`` (to it).

Rules look at addresses and ports only, never at connection state, so a rule stops sessions that are already
up, in both directions: toward the cloud by destination port, from the cloud by source port.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hil.errors import UsageError, WireError

TABLE = "inet hil"
ROUTER_HOOKS = ("forward",)
HOST_HOOKS = ("forward", "input", "output")
_COUNTED = "flags dynamic; counter; size 131072;"
# On a bench the answers of a reject rule leave through the output hook and must not be stopped there.
_RESET = "tcp flags & rst != 0"
_NO_RESET = "tcp flags & rst == 0"
_KEY = "type ipv4_addr . inet_proto . inet_service;"


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"


_BY_NUMBER = {6: Protocol.TCP, 17: Protocol.UDP}


class Action(StrEnum):
    """What happens to a stopped packet: silence, or an ICMP port-unreachable (UDP) or a reset (TCP)."""

    DROP = "drop"
    REJECT = "reject"


class Kind(StrEnum):
    """What a lease counts."""

    STOPPED = "stopped"  # by the lease's own rules
    PASSED = "passed"  # all leases


class Direction(StrEnum):
    UP = "up"  # from a board
    DOWN = "down"  # to a board

    @property
    def address(self) -> str:
        """The header field that holds the board's address."""
        return "ip saddr" if self is Direction.UP else "ip daddr"

    @property
    def port(self) -> str:
        """The header field that holds the cloud's port."""
        return "dport" if self is Direction.UP else "sport"


@dataclass(frozen=True, slots=True)
class Service:
    """A port of the cloud's side, such as UDP 5684."""

    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class Block:
    """Stop one service, or everything (``service`` None), for one board address, or all boards (None)."""

    service: Service | None
    board: str | None
    action: Action = Action.DROP


@dataclass(frozen=True, slots=True)
class AllowOnly:
    """Stop everything but ``services``. For a board with one of its own, the one for all boards is not asked."""

    services: tuple[Service, ...]
    board: str | None


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The rules of one lease, in the order they are asked: blocks first."""

    blocks: tuple[Block, ...] = ()
    allows: tuple[AllowOnly, ...] = ()

    def with_block(self, block: Block) -> Ruleset:
        """With ``block`` added; it replaces one for the same service and board."""
        others = tuple(b for b in self.blocks if (b.service, b.board) != (block.service, block.board))
        return Ruleset((*others, block), self.allows)

    def with_blocks(self, blocks: Iterable[Block]) -> Ruleset:
        """With every one of ``blocks`` added."""
        rules = self
        for block in blocks:
            rules = rules.with_block(block)
        return rules

    def with_allow(self, allow: AllowOnly) -> Ruleset:
        """With ``allow`` added; it replaces one for the same board. Those for a single board come first."""
        others = [a for a in self.allows if a.board != allow.board]
        return Ruleset(self.blocks, tuple(sorted([*others, allow], key=lambda a: a.board is None)))


@dataclass(frozen=True, slots=True)
class Flow:
    """What a counter counts: packets between a board and one service of the cloud, one way."""

    direction: Direction
    board: str
    service: Service


@dataclass(frozen=True, slots=True)
class Count:
    packets: int
    bytes: int


def boards_network(text: str) -> ipaddress.IPv4Network:
    """The network that holds all boards. Raises ``UsageError``."""
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise UsageError(
            "wrong network of the boards", expected="such as 10.77.0.0/16", found=str(error)
        ) from None


def set_name(lease: int, kind: Kind, direction: Direction) -> str:
    """The set that holds these counters of ``lease``."""
    return f"lease{lease}_{kind}_{direction}"


def render_base(hooks: Sequence[str]) -> str:
    """The script that makes the table with its base chains on ``hooks``, and no lease."""
    lines = [f"table {TABLE} {{", "  flags owner", "  chain leases {", "  }", "  chain account {", "  }"]
    for hook in hooks:
        lines += [
            f"  chain on_{hook} {{",
            f"    type filter hook {hook} priority filter; policy accept;",
            "    jump leases",
            "    jump account",
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


def render_open(lease: int, open_leases: Sequence[int], boards: ipaddress.IPv4Network) -> str:
    """The script that makes the empty chain and the counters of ``lease`` beside the ``open_leases``."""
    sets = [f"add set {TABLE} {name} {{ {_KEY} {_COUNTED} }}" for name in _sets(lease)]
    return _script([*sets, f"add chain {TABLE} lease{lease}", *_join([*open_leases, lease], boards)])


def render_close(lease: int, open_leases: Sequence[int], boards: ipaddress.IPv4Network) -> str:
    """The script that removes everything of ``lease``; ``open_leases`` are those that stay."""
    sets = [f"delete set {TABLE} {name}" for name in _sets(lease)]
    chain = f"chain {TABLE} lease{lease}"
    return _script([*_join(open_leases, boards), f"flush {chain}", f"delete {chain}", *sets])


def render_rules(lease: int, rules: Ruleset, boards: ipaddress.IPv4Network) -> str:
    """The script that makes ``rules`` the rules of ``lease``; its counters keep what they counted."""
    lines = [line for block in rules.blocks for line in _block(lease, block, boards)]
    lines += [line for allow in rules.allows for line in _allow(lease, allow, boards)]
    chain = f"{TABLE} lease{lease}"
    return _script([f"flush chain {chain}", *(f"add rule {chain} {line}" for line in lines)])


def parse_counters(text: str, direction: Direction) -> dict[Flow, Count]:
    """The counters in the JSON that ``list set`` prints (protocols are numbers). Else ``WireError``."""
    try:
        objects = json.loads(text)["nftables"]
        elements = [e["elem"] for o in objects if "set" in o for e in o["set"].get("elem", [])]
        return dict(_parse_element(element, direction) for element in elements)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WireError(
            "cannot read the firewall's counters", expected="a set of counters as JSON", found=repr(error)
        ) from error


def _parse_element(
    element: dict[str, dict[str, list[str | int]]], direction: Direction
) -> tuple[Flow, Count]:
    board, protocol, port = element["val"]["concat"]
    counter = element["counter"]
    flow = Flow(direction, str(board), Service(_BY_NUMBER[int(protocol)], int(port)))
    return flow, Count(int(str(counter["packets"])), int(str(counter["bytes"])))


def _script(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _sets(lease: int) -> list[str]:
    return [set_name(lease, kind, direction) for kind in Kind for direction in Direction]


def _join(leases: Sequence[int], boards: ipaddress.IPv4Network) -> list[str]:
    """Make the base chains ask and count for exactly ``leases``."""
    asked = [f"add rule {TABLE} leases jump lease{lease}" for lease in leases]
    counted = [
        f"add rule {TABLE} account {_count(lease, Kind.PASSED, d, _scope(d, None, boards))}"
        for lease in leases
        for d in Direction
    ]
    return [f"flush chain {TABLE} leases", *asked, f"flush chain {TABLE} account", *counted]


def _scope(direction: Direction, board: str | None, boards: ipaddress.IPv4Network) -> str:
    return f"{direction.address} {board if board is not None else boards}"


def _count(lease: int, kind: Kind, direction: Direction, scope: str) -> str:
    return f"{scope} meta l4proto {{ tcp, udp }} {_update(lease, kind, direction)}"


def _update(lease: int, kind: Kind, direction: Direction) -> str:
    key = f"{direction.address} . meta l4proto . th {direction.port}"
    return f"update @{set_name(lease, kind, direction)} {{ {key} }}"


def _block(lease: int, block: Block, boards: ipaddress.IPv4Network) -> list[str]:
    lines: list[str] = []
    for direction in Direction:
        scope = _scope(direction, block.board, boards)
        if block.service is None:
            lines += _stop_everything(lease, direction, scope, block.action)
        else:
            lines.append(_stop_service(lease, direction, scope, block.service, block.action))
    return lines


def _allow(lease: int, allow: AllowOnly, boards: ipaddress.IPv4Network) -> list[str]:
    lines: list[str] = []
    for direction in Direction:
        scope = _scope(direction, allow.board, boards)
        lines += [f"{scope} {s.protocol} {direction.port} {s.port} return" for s in allow.services]
        lines += _stop_everything(lease, direction, scope, Action.DROP)
    return lines


def _stop_service(lease: int, direction: Direction, scope: str, service: Service, action: Action) -> str:
    match = f"{scope} {service.protocol} {direction.port} {service.port}"
    if action is Action.REJECT and service.protocol is Protocol.TCP:
        match += f" {_NO_RESET}"
    return f"{match} {_update(lease, Kind.STOPPED, direction)} {_verdict(action, service.protocol)}"


def _stop_everything(lease: int, direction: Direction, scope: str, action: Action) -> list[str]:
    count = _count(lease, Kind.STOPPED, direction, scope)
    if action is Action.DROP:
        return [count, f"{scope} drop"]
    return [
        f"{scope} {_RESET} return",
        f"{scope} icmp type destination-unreachable return",
        count,
        f"{scope} meta l4proto tcp {_verdict(action, Protocol.TCP)}",
        f"{scope} {_verdict(action, Protocol.UDP)}",
    ]


def _verdict(action: Action, protocol: Protocol) -> str:
    if action is Action.DROP:
        return "drop"
    return "reject with tcp reset" if protocol is Protocol.TCP else "reject with icmp port-unreachable"
