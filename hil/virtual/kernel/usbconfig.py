"""Reads a configuration descriptor: interfaces with their class and endpoints (USB 2.0, chapter 9.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_INTERFACE, _ENDPOINT, _ASSOCIATION, _CLASS_INTERFACE = 4, 5, 0x0B, 0x24
_ABSTRACT_CONTROL = 2  # subtype of the functional descriptor


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint; ``type`` is 0 control, 1 isochronous, 2 bulk, 3 interrupt."""

    address: int
    attributes: int
    max_packet: int
    interval: int

    @property
    def type(self) -> int:
        return self.attributes & 3

    @property
    def is_in(self) -> bool:
        return bool(self.address & 0x80)


@dataclass(slots=True)
class Interface:
    """One alternate setting of one interface."""

    number: int
    alternate: int
    cls: int
    subclass: int
    protocol: int
    string: int
    endpoints: list[Endpoint] = field(default_factory=list)

    @property
    def is_serial_control(self) -> bool:
        """The control interface of a CDC ACM function."""
        return (self.cls, self.subclass) == (0x02, 0x02)

    @property
    def triple(self) -> tuple[int, int, int]:
        return self.cls, self.subclass, self.protocol


@dataclass(frozen=True, slots=True)
class Association:
    """Interfaces that are one function (interface association descriptor)."""

    first: int
    count: int
    cls: int
    subclass: int
    protocol: int


def parse_interfaces(configuration: bytes) -> list[Interface]:
    """All alternate settings in descriptor order. Class-specific descriptors are stepped over."""
    found: list[Interface] = []
    for kind, body in _descriptors(configuration):
        if kind == _INTERFACE and len(body) >= 9:
            found.append(Interface(body[2], body[3], body[5], body[6], body[7], body[8]))
        elif kind == _ENDPOINT and len(body) >= 7 and found:
            size = int.from_bytes(body[4:6], "little")
            found[-1].endpoints.append(Endpoint(body[2], body[3], size, body[6]))
    return found


def association_of(configuration: bytes, interface: int) -> Association | None:
    """The function that ``interface`` is a part of, if a descriptor says so."""
    for kind, body in _descriptors(configuration):
        if kind == _ASSOCIATION and len(body) >= 8 and 0 <= interface - body[2] < body[3]:
            return Association(*body[2:7])
    return None


def acm_capabilities(configuration: bytes, interface: int) -> int:
    """``bmCapabilities`` of the serial function whose control interface is ``interface``, 0 when it says none."""
    here = False
    for kind, body in _descriptors(configuration):
        if kind == _INTERFACE and len(body) >= 9:
            here = body[2] == interface
        elif here and kind == _CLASS_INTERFACE and len(body) >= 4 and body[2] == _ABSTRACT_CONTROL:
            return body[3]
    return 0


def _descriptors(configuration: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each descriptor; what is shorter than it says ends the walk."""
    offset = 0
    while offset + 2 <= len(configuration):
        length, kind = configuration[offset], configuration[offset + 1]
        if length < 2:
            return
        yield kind, configuration[offset : offset + length]
        offset += length


def first_settings(interfaces: list[Interface]) -> list[Interface]:
    """Alternate setting 0 of each interface, by number."""
    return sorted((one for one in interfaces if one.alternate == 0), key=lambda one: one.number)
