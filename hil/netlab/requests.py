"""The language of the network service: one JSON object a line, each checked field by field.

::

    {"do": "block", "udp": 5684, "tcp": null, "board": "10.77.1.2", "action": "drop"}
    {"do": "allow_only", "udp": 5684, "tcp": null, "board": null}
    {"do": "counters", "only": "stopped"}   {"do": "clear"}   {"do": "status"}
    {"do": "capture_start", "snaplen": 65535, "limit": 67108864}   {"do": "capture_stop"}

The answer is one line, ``{"ok": true, ...}`` or ``{"ok": false, "what": ..., "expected": ..., "found": ...,
"hint": ...}``. After the answer to ``capture_stop`` follow as many raw bytes as its ``bytes`` says.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from hil.controlsocket import parse_words, shown
from hil.errors import WireError
from hil.netlab.firewall import Action, AllowOnly, Block, Kind, Protocol, Service

MAX_LINE = 64 * 1024
MAX_CAPTURE = 256 * 1024 * 1024
DEFAULT_CAPTURE = 64 * 1024 * 1024
MAX_SNAPLEN = 65535


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """All ``blocks`` at once."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class AllowOnlyRequest:
    allow: AllowOnly


@dataclass(frozen=True, slots=True)
class CaptureStart:
    """Keep ``snaplen`` bytes of each packet and ``limit`` bytes in all."""

    snaplen: int
    limit: int


@dataclass(frozen=True, slots=True)
class CountersRequest:
    """Counters of ``kinds``."""

    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Plain:
    """A request without fields: ``clear``, ``status`` or ``capture_stop``."""

    name: str


Request = BlockRequest | AllowOnlyRequest | CaptureStart | CountersRequest | Plain

_PLAIN = ("clear", "status", "capture_stop")
_FIELDS: dict[str, tuple[str, ...]] = {
    "block": ("udp", "tcp", "board", "action"),
    "allow_only": ("udp", "tcp", "board"),
    "capture_start": ("snaplen", "limit"),
    "counters": ("only",),
    **dict.fromkeys(_PLAIN, ()),
}


def parse_request(line: bytes) -> Request:
    """The request in ``line``. Raises ``WireError`` that says which field is wrong."""
    name, fields = parse_words(line, _FIELDS)
    if name in _PLAIN:
        return Plain(name)
    if name == "capture_start":
        return CaptureStart(
            _integer(fields, "snaplen", 14, MAX_SNAPLEN) or MAX_SNAPLEN,
            _integer(fields, "limit", 1, MAX_CAPTURE) or DEFAULT_CAPTURE,
        )
    if name == "counters":
        return CountersRequest(_kinds(fields))
    services, board = _services(fields), _board(fields)
    if name == "block":
        action = _action(fields)
        stopped: tuple[Service | None, ...] = services or (None,)
        return BlockRequest(tuple(Block(service, board, action) for service in stopped))
    if not services:
        raise WireError("allow_only without a port", expected="udp, tcp or both", hint="block() stops all")
    return AllowOnlyRequest(AllowOnly(services, board))


def _services(fields: dict[str, object]) -> tuple[Service, ...]:
    ports = ((protocol, _integer(fields, protocol.value, 1, 65535)) for protocol in Protocol)
    return tuple(Service(protocol, port) for protocol, port in ports if port is not None)


def _integer(fields: dict[str, object], name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise WireError(f"wrong {name}", expected=f"a number from {low} to {high}", found=shown(value))
    return value


def _board(fields: dict[str, object]) -> str | None:
    value = fields.get("board")
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return str(ipaddress.IPv4Address(value))
    except ValueError:
        pass
    raise WireError("wrong board", expected="an IPv4 address such as 10.77.1.2", found=shown(value))


def _action(fields: dict[str, object]) -> Action:
    value = fields.get("action", Action.DROP.value)
    if isinstance(value, str) and value in {action.value for action in Action}:
        return Action(value)
    raise WireError("wrong action", expected="drop or reject", found=shown(value))


def _kinds(fields: dict[str, object]) -> tuple[Kind, ...]:
    value = fields.get("only")
    if value is None:
        return tuple(Kind)
    if isinstance(value, str) and value in {kind.value for kind in Kind}:
        return (Kind(value),)
    raise WireError("wrong only", expected="stopped or passed", found=shown(value))
