"""The ioctls of one open file on /dev/bus/usb, with the errno values of drivers/usb/core/devio.c.

A handler returns the ioctl's result and raises ``OSError`` for an errno. Only BULK, REAPURB and RESET wait.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

from hil.virtual.kernel import usbfs_abi as abi
from hil.virtual.kernel.attachment import Attachment
from hil.virtual.kernel.usbdevice import Setup
from hil.virtual.kernel.usbfs_abi import Capability, DisconnectClaim, Ioctl
from hil.virtual.kernel.usbfs_transfers import Caller, Transfers, Waiting

_CLEAR_FEATURE, _SET_CONFIGURATION, _SET_INTERFACE = 1, 9, 11
_ENDPOINT_HALT = 0
_PORTS_TOLD = 7  # of CONNINFO_EX
_ALL_INTERFACES = (1 << abi.MOST_INTERFACES) - 1
_UNPRIVILEGED_REFUSED = (Ioctl.IOCTL, Ioctl.DISCONNECT_CLAIM, Ioctl.CLAIM_PORT)


class UsbFile:
    """One open file. ``on_ready`` is called when poll(2) would answer otherwise than before."""

    def __init__(self, attachment: Attachment, *, writable: bool, on_ready: Callable[[], None]) -> None:
        self._attachment = attachment
        self._device = attachment.device
        self._writable = writable
        self._on_ready = on_ready
        self._transfers = Transfers(attachment, self, on_ready)
        self._allowed: int | None = None  # interfaces as bits, once privileges are dropped
        self._resume_awaited = False
        self._on_disconnect: Callable[[], None] | None = None
        self._handlers: dict[int, Callable[[int, Caller], int]] = {
            Ioctl.CONTROL: self._transfers.control,
            Ioctl.RESETEP: self._reset_endpoint,
            Ioctl.SETINTERFACE: self._set_interface,
            Ioctl.SETCONFIGURATION: self._set_configuration,
            Ioctl.GETDRIVER: self._get_driver,
            Ioctl.SUBMITURB: self._transfers.submit,
            Ioctl.DISCARDURB: self._transfers.discard,
            Ioctl.DISCSIGNAL: self._disconnect_signal,
            Ioctl.CLAIMINTERFACE: self._claim,
            Ioctl.RELEASEINTERFACE: self._release,
            Ioctl.CONNECTINFO: self._connect_info,
            Ioctl.IOCTL: self._driver_ioctl,
            Ioctl.RESET: self._reset,
            Ioctl.CLEAR_HALT: self._clear_halt,
            Ioctl.CLAIM_PORT: self._claim_port,
            Ioctl.RELEASE_PORT: self._release_port,
            Ioctl.GET_CAPABILITIES: self._capabilities,
            Ioctl.DISCONNECT_CLAIM: self._disconnect_claim,
            Ioctl.ALLOC_STREAMS: self._streams,
            Ioctl.FREE_STREAMS: self._streams,
            Ioctl.DROP_PRIVILEGES: self._drop_privileges,
            Ioctl.GET_SPEED: lambda _argument, _caller: abi.SPEEDS[self._device.speed],
            Ioctl.FORBID_SUSPEND: lambda _argument, _caller: 0,
            Ioctl.ALLOW_SUSPEND: self._allow_suspend,
        }
        attachment.opened(self)

    # The file's own operations.

    def ioctl(self, request: int, argument: int, caller: Caller, waiting: Waiting) -> int:
        """Runs one request."""
        if not self._writable:
            raise OSError(errno.EPERM, "opened read-only")
        if request == Ioctl.REAPURB:
            return self._transfers.reap(argument, caller, waiting)
        if request == Ioctl.REAPURBNDELAY:
            return self._transfers.reap(argument, caller, None)
        if not self._attachment.connected:
            raise OSError(errno.ENODEV, "unplugged")
        if request == Ioctl.BULK:
            return self._transfers.bulk(argument, caller, waiting)
        if request == Ioctl.WAIT_FOR_RESUME:
            return self._wait_for_resume(waiting)
        if request & ~abi.SIZE_MASK == abi.CONNINFO_EX:
            return self._connect_info_ex(argument, (request & abi.SIZE_MASK) >> abi.SIZE_SHIFT, caller)
        handler = self._handlers.get(request)
        if handler is None:
            raise OSError(errno.ENOTTY, f"request {request:#x}")
        if self._allowed is not None and self._needs_privileges(request):
            raise OSError(errno.EACCES, "privileges were dropped")
        return handler(argument, caller)

    @staticmethod
    def may_wait(request: int) -> bool:
        """Whether ``ioctl`` may take long: the caller gives it a thread of its own."""
        return request in (Ioctl.REAPURB, Ioctl.BULK, Ioctl.RESET, Ioctl.WAIT_FOR_RESUME)

    def read(self, offset: int, length: int) -> bytes:
        """Descriptors. Raises ``OSError`` ENODEV."""
        if not self._attachment.connected:
            raise OSError(errno.ENODEV, "unplugged")
        return self._attachment.descriptors[offset : offset + length]

    def poll(self) -> tuple[bool, bool]:
        """(a transfer can be reaped, the device is gone)."""
        return self._transfers.can_reap, not self._attachment.connected

    def interrupt(self, waiting: Waiting) -> None:
        """Ends a wait with EINTR."""
        self._transfers.interrupt(waiting)

    def close(self) -> None:
        """Transfers end, claims are released."""
        self._transfers.forget_all()
        self._attachment.closed(self)

    # What the attachment tells.

    def lost_interface(self, interface: int) -> None:
        """Somebody took the interface away, or this file gave it back."""
        self._transfers.end(-errno.ESHUTDOWN, interface)

    def lost_device(self) -> None:
        self._transfers.end(-errno.ESHUTDOWN)
        if self._on_disconnect is not None:
            self._on_disconnect()

    def in_ready(self, endpoint: int) -> None:
        """The device has bytes on ``endpoint``: waiting transfers may end."""
        self._transfers.in_ready(endpoint)

    # Interfaces and drivers.

    def use_interface(self, interface: int) -> None:
        """Claims ``interface`` if nobody holds it, as the real usbfs does for a program that forgot to."""
        if interface >= abi.MOST_INTERFACES:
            raise OSError(errno.EINVAL, f"no interface {interface}")
        forbidden = self._allowed is not None and not self._allowed >> interface & 1
        if forbidden and not self._attachment.holds(self, interface):
            raise OSError(errno.EACCES, f"interface {interface} was given up with the privileges")
        self._attachment.claim(self, interface)

    def use_endpoint(self, endpoint: int) -> int:
        """The interface of ``endpoint``, claimed."""
        interface = self._attachment.interface_of_endpoint(endpoint)
        self.use_interface(interface)
        return interface

    def _claim(self, argument: int, caller: Caller) -> int:
        self.use_interface(_uint(caller, argument))
        return 0

    def _release(self, argument: int, caller: Caller) -> int:
        interface = _uint(caller, argument)
        self._attachment.release(self, interface)
        self.lost_interface(interface)
        return 0

    def _get_driver(self, argument: int, caller: Caller) -> int:
        driver = self._attachment.driver_of(_uint(caller, argument))
        if driver is None:
            raise OSError(errno.ENODATA, "no driver")
        caller.write(argument + 4, driver.encode().ljust(abi.DRIVER_NAME_SIZE, b"\0"))
        return 0

    def _disconnect_claim(self, argument: int, caller: Caller) -> int:
        raw = caller.read(argument, 8 + abi.DRIVER_NAME_SIZE)
        interface, flags = struct.unpack_from("<II", raw)
        wanted = raw[8:].split(b"\0")[0].decode(errors="replace")
        if not self._attachment.has_interface(interface):
            raise OSError(errno.EINVAL, f"no interface {interface}")
        driver = self._attachment.driver_of(interface)
        if driver is not None:
            if flags & DisconnectClaim.IF_DRIVER and driver != wanted:
                raise OSError(errno.EBUSY, f"bound to {driver}")
            if flags & DisconnectClaim.EXCEPT_DRIVER and driver == wanted:
                raise OSError(errno.EBUSY, f"bound to {driver}")
            self._attachment.disconnect_driver(interface)
        self._attachment.claim(self, interface)
        return 0

    def _driver_ioctl(self, argument: int, caller: Caller) -> int:
        interface, code, address = struct.unpack("<iIQ", caller.read(argument, 16))
        if not self._attachment.has_interface(interface):
            raise OSError(errno.EINVAL, f"no interface {interface}")
        if code == abi.IOCTL_DISCONNECT:
            self._attachment.disconnect_driver(interface)
            return 0
        if code == abi.IOCTL_CONNECT:
            return int(self._attachment.connect_driver(interface))
        if code == abi.HUB_PORTINFO and self._attachment.driver_of(interface) == "hub":
            ports = [self._device.child_on(port) for port in range(1, self._device.ports + 1)]
            caller.write(address, bytes((len(ports), *ports)).ljust(abi.HUB_PORTINFO_SIZE, b"\0"))
            return len(ports) + 1
        raise OSError(errno.ENOTTY, f"driver request {code:#x}")

    def _drop_privileges(self, argument: int, caller: Caller) -> int:
        """From here on only these interfaces may be claimed; a second request takes away more, none gives back."""
        mask = int.from_bytes(caller.read(argument, 4), "little")
        self._allowed = mask & (_ALL_INTERFACES if self._allowed is None else self._allowed)
        return 0

    def _needs_privileges(self, request: int) -> bool:
        """A reset does while somebody else holds an interface."""
        if request == Ioctl.RESET:
            with self._attachment.lock:
                return any(holder is not self for holder in self._attachment.holders.values())
        return request in _UNPRIVILEGED_REFUSED

    # The device as a whole.

    def _capabilities(self, argument: int, caller: Caller) -> int:
        caller.write(argument, struct.pack("<I", sum(Capability)))
        return 0

    def _connect_info(self, argument: int, caller: Caller) -> int:
        caller.write(argument, struct.pack("<IB3x", self._attachment.devnum, self._device.speed == "1.5"))
        return 0

    def _connect_info_ex(self, argument: int, size: int, caller: Caller) -> int:
        way = self._attachment.way
        numbers = way.bus, self._attachment.devnum, abi.SPEEDS[self._device.speed], len(way.ports)
        known = struct.pack("<IIIIB", abi.CONNINFO_EX_SIZE, *numbers)
        known += bytes(way.ports[:_PORTS_TOLD]).ljust(_PORTS_TOLD, b"\0")
        caller.write(argument, known[:size])
        return 0

    def _disconnect_signal(self, argument: int, caller: Caller) -> int:
        number, context = struct.unpack("<I4xQ", caller.read(argument, 16))

        def tell() -> None:
            caller.signal(number, errno.EPIPE, context)

        self._on_disconnect = tell if number else None
        return 0

    def _set_interface(self, argument: int, caller: Caller) -> int:
        interface, alternate = struct.unpack("<II", caller.read(argument, 8))
        self.use_interface(interface)
        self._transfers.end(-errno.ENOENT, interface)
        if self._attachment.setting(interface, alternate) is None:
            raise OSError(errno.EINVAL, f"no alternate setting {alternate}")
        self._transfers.control_transfer(Setup(0x01, _SET_INTERFACE, alternate, interface, 0), b"")
        return 0

    def _set_configuration(self, argument: int, caller: Caller) -> int:
        wanted = _uint(caller, argument)
        with self._attachment.lock:
            if self._attachment.holders:
                raise OSError(errno.EBUSY, "an interface is in use")
        if wanted != self._device.configuration_descriptor[5]:
            raise OSError(errno.EINVAL, f"no configuration {wanted}")
        self._transfers.control_transfer(Setup(0x00, _SET_CONFIGURATION, wanted, 0, 0), b"")
        return 0

    def _reset_endpoint(self, argument: int, caller: Caller) -> int:
        """The host's side of an endpoint alone: the device hears nothing."""
        self.use_endpoint(_uint(caller, argument))
        return 0

    def _clear_halt(self, argument: int, caller: Caller) -> int:
        endpoint = _uint(caller, argument)
        self.use_endpoint(endpoint)
        self._transfers.control_transfer(Setup(0x02, _CLEAR_FEATURE, _ENDPOINT_HALT, endpoint, 0), b"")
        return 0

    def _reset(self, _argument: int, _caller: Caller) -> int:
        self._attachment.reset()
        return 0

    def _streams(self, argument: int, caller: Caller) -> int:
        """ALLOC_STREAMS and FREE_STREAMS: no device below SuperSpeed has streams, whatever is asked for."""
        _number, count = struct.unpack("<II", caller.read(argument, 8))
        if 1 <= count <= abi.MOST_ENDPOINTS:
            self.use_endpoint(caller.read(argument + 8, 1)[0])
        raise OSError(errno.EINVAL, "no streams")

    # A hub's ports, and sleep.

    def _claim_port(self, argument: int, caller: Caller) -> int:
        self._attachment.claim_port(self, _uint(caller, argument))
        return 0

    def _release_port(self, argument: int, caller: Caller) -> int:
        self._attachment.release_port(self, _uint(caller, argument))
        return 0

    def _allow_suspend(self, _argument: int, _caller: Caller) -> int:
        """Boards never suspend all the same: ``power/control`` is "on", as Linux leaves it for unknown devices."""
        self._resume_awaited = True
        return 0

    def _wait_for_resume(self, waiting: Waiting) -> int:
        """At once unless suspending was allowed: then nothing resumes a board that never sleeps."""
        if self._resume_awaited:
            self._transfers.wait_until_gone(waiting)
            raise OSError(errno.ENODEV, "unplugged")
        return 0


def _uint(caller: Caller, address: int) -> int:
    return int.from_bytes(caller.read(address, 4), "little")
