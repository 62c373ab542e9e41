"""Reads a configuration descriptor: interfaces with their class and endpoints (USB 2.0, chapter 9.6)."""

from __future__ import annotations

from dataclasses import dataclass, field

_INTERFACE, _ENDPOINT = 4, 5


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
    def triple(self) -> tuple[int, int, int]:
        return self.cls, self.subclass, self.protocol


def parse_interfaces(configuration: bytes) -> list[Interface]:
    """All alternate settings in descriptor order. Class-specific descriptors are stepped over."""
    found: list[Interface] = []
    offset = 0
    while offset + 2 <= len(configuration):
        length, kind = configuration[offset], configuration[offset + 1]
        if length < 2:
            break
        body = configuration[offset : offset + length]
        if kind == _INTERFACE and length >= 9:
            found.append(Interface(body[2], body[3], body[5], body[6], body[7], body[8]))
        elif kind == _ENDPOINT and length >= 7 and found:
            size = int.from_bytes(body[4:6], "little")
            found[-1].endpoints.append(Endpoint(body[2], body[3], size, body[6]))
        offset += length
    return found


def first_settings(interfaces: list[Interface]) -> list[Interface]:
    """Alternate setting 0 of each interface, by number."""
    return sorted((one for one in interfaces if one.alternate == 0), key=lambda one: one.number)
