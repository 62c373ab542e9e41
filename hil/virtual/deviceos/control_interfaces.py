"""Control requests 400 and 401: the network interfaces of a Gen 3 board.

Facts: USB fact sheet 4.5. Names and numbers are those of Device OS: loopback is the first interface, the radio the
fourth; the two between are not there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag

from hil.device.platforms import Radio
from hil.device.protobuf import Fields, Writer
from hil.device.releases import version_tuple
from hil.device.requests import ControlRequest
from hil.device.results import UNSPECIFIED
from hil.virtual.deviceos.control import Reply
from hil.virtual.hardware.machine import Machine

_NO_SUCH_INTERFACE = Reply(UNSPECIFIED)
_LOOPBACK, _WIFI, _PPP = 1, 8, 16
_RADIO_INDEX = 4
_LINK_PREFIX = 30  # of the link between a virtual board and its router
_PROFILE_SINCE = (3, 0, 0)


class _Flag(IntFlag):
    UP = 0x01
    BROADCAST = 0x02
    LOOPBACK = 0x08
    POINT_TO_POINT = 0x10
    LOWER_UP = 0x40
    MULTICAST = 0x8000


@dataclass(frozen=True, slots=True)
class _Interface:
    index: int
    name: str
    type: int
    flags: _Flag
    mtu: int
    address: str | None
    prefix: int
    hardware: bytes = b""
    profile: str = ""


class InterfaceRequests:
    """The two requests of one board."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def handlers(self) -> dict[int, Callable[[bytes], Reply]]:
        """Both."""
        return {ControlRequest.INTERFACE_LIST: self._list, ControlRequest.INTERFACE: self._one}

    def _list(self, _payload: bytes) -> Reply:
        reply = Writer()
        for each in self._interfaces():
            reply.message(1, _entry(each))
        return Reply(data=reply.finish())

    def _one(self, payload: bytes) -> Reply:
        index = Fields(payload).uint(1)
        for each in self._interfaces():
            if each.index == index:
                return Reply(data=Writer().message(1, _whole(each)).finish())
        return _NO_SUCH_INTERFACE

    def _interfaces(self) -> tuple[_Interface, ...]:
        """The radio first: Device OS lists what was added last first."""
        loopback = _Interface(
            1, "lo0", _LOOPBACK, _Flag.UP | _Flag.LOOPBACK | _Flag.LOWER_UP, 0, "127.0.0.1", 8
        )
        return self._radio(), loopback

    def _radio(self) -> _Interface:
        machine = self._machine
        up = _Flag.UP | _Flag.LOWER_UP if machine.on_network else _Flag.UP
        if machine.platform.radio is Radio.CELLULAR:
            flags = up | _Flag.POINT_TO_POINT
            return _Interface(_RADIO_INDEX, "pp3", _PPP, flags, 1500, machine.ip_address, 32)
        flags = up | _Flag.BROADCAST | _Flag.MULTICAST
        named = version_tuple(machine.device_os) >= _PROFILE_SINCE
        return _Interface(
            _RADIO_INDEX,
            "wl3",
            _WIFI,
            flags,
            1500,
            machine.ip_address if machine.on_network else None,
            _LINK_PREFIX,
            bytes.fromhex(machine.mac_address.replace(":", "")),
            machine.wifi_network if named else "",
        )


def _entry(interface: _Interface) -> Writer:
    return Writer().uint(1, interface.index).text(2, interface.name).uint(3, interface.type)


def _whole(interface: _Interface) -> Writer:
    writer = _entry(interface).uint(4, interface.flags)
    if interface.address is not None:
        address = int(ipaddress.IPv4Address(interface.address))
        ip = Writer().message(1, Writer().fixed32(1, address))
        entry = Writer().message(1, ip).uint(2, interface.prefix)
        writer.message(6, Writer().message(1, entry))
    writer.data(8, interface.hardware).uint(9, interface.mtu)
    return writer.text(11, interface.profile)
