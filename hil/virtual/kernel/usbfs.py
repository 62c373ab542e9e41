"""The ioctls of one open file on /dev/bus/usb, with the errno values of drivers/usb/core/devio.c.

A handler returns the ioctl's result and raises ``OSError`` for an errno. Only BULK, REAPURB and RESET wait.
"""

from __future__ import annotations

import errno
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hil.virtual.kernel import usbfs_abi as abi
from hil.virtual.kernel.attachment import Attachment
from hil.virtual.kernel.usbdevice import TYPE_VENDOR, NoAnswer, Setup, Stall
from hil.virtual.kernel.usbfs_abi import BulkTransfer, Capability, DisconnectClaim, Ioctl, Urb, UrbType

_SET_CONFIGURATION, _SET_INTERFACE = 9, 11


class ClientMemory(Protocol):
    """The calling process's memory. Both raise ``OSError`` EFAULT."""

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


class Waiting:
    """A call that may wait; ``interrupted`` is set when a signal ends the caller's wait."""

    def __init__(self) -> None:
        self.interrupted = False


class UsbFile:
    """One open file. ``on_ready`` is called when poll(2) would answer otherwise than before."""

    def __init__(self, attachment: Attachment, *, writable: bool, on_ready: Callable[[], None]) -> None:
        self._attachment = attachment
        self._device = attachment.device
        self._writable = writable
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._pending: dict[int, Urb] = {}
        self._done: deque[Urb] = deque()
        self._handlers: dict[int, Callable[[int, ClientMemory], int]] = {
            Ioctl.CONTROL: self._control,
            Ioctl.RESETEP: self._clear_halt,
            Ioctl.SETINTERFACE: self._set_interface,
            Ioctl.SETCONFIGURATION: self._set_configuration,
            Ioctl.GETDRIVER: self._get_driver,
            Ioctl.SUBMITURB: self._submit,
            Ioctl.DISCARDURB: self._discard,
            Ioctl.CLAIMINTERFACE: self._claim,
            Ioctl.RELEASEINTERFACE: self._release,
            Ioctl.CONNECTINFO: self._connect_info,
            Ioctl.IOCTL: self._driver_ioctl,
            Ioctl.RESET: self._reset,
            Ioctl.CLEAR_HALT: self._clear_halt,
            Ioctl.GET_CAPABILITIES: self._capabilities,
            Ioctl.DISCONNECT_CLAIM: self._disconnect_claim,
            Ioctl.DROP_PRIVILEGES: lambda _argument, _memory: 0,
            Ioctl.GET_SPEED: lambda _argument, _memory: abi.SPEEDS[self._device.speed],
        }
        attachment.opened(self)

    # The file's own operations.

    def ioctl(self, request: int, argument: int, memory: ClientMemory, waiting: Waiting) -> int:
        """Runs one request."""
        if not self._writable:
            raise OSError(errno.EPERM, "opened read-only")
        if request == Ioctl.REAPURB:
            return self._reap(argument, memory, waiting)
        if request == Ioctl.REAPURBNDELAY:
            return self._reap(argument, memory, None)
        if not self._attachment.connected:
            raise OSError(errno.ENODEV, "unplugged")
        if request == Ioctl.BULK:
            return self._bulk(BulkTransfer.parse(memory.read(argument, 24)), memory, waiting)
        handler = self._handlers.get(request)
        if handler is None:
            raise OSError(errno.ENOTTY, f"request {request:#x}")
        return handler(argument, memory)

    @staticmethod
    def may_wait(request: int) -> bool:
        """Whether ``ioctl`` may take long: the caller gives it a thread of its own."""
        return request in (Ioctl.REAPURB, Ioctl.BULK, Ioctl.RESET)

    def read(self, offset: int, length: int) -> bytes:
        """Descriptors. Raises ``OSError`` ENODEV."""
        if not self._attachment.connected:
            raise OSError(errno.ENODEV, "unplugged")
        return self._attachment.descriptors[offset : offset + length]

    def poll(self) -> tuple[bool, bool]:
        """(a transfer can be reaped, the device is gone)."""
        with self._changed:
            return bool(self._done), not self._attachment.connected

    def interrupt(self, waiting: Waiting) -> None:
        """Ends a wait with EINTR."""
        with self._changed:
            waiting.interrupted = True
            self._changed.notify_all()

    def close(self) -> None:
        """Transfers end, claims are released."""
        with self._changed:
            self._pending.clear()
            self._done.clear()
        self._attachment.closed(self)

    # What the attachment tells.

    def lost_interface(self, interface: int) -> None:
        def belongs(urb: Urb) -> bool:
            try:
                return self._attachment.interface_of_endpoint(urb.endpoint) == interface
            except OSError:
                return False

        self._finish_pending(-errno.ENOENT, belongs)

    def lost_device(self) -> None:
        self._finish_pending(-errno.ESHUTDOWN, lambda _urb: True)

    def in_ready(self, endpoint: int) -> None:
        """The device has bytes on ``endpoint``: waiting transfers may end."""
        with self._changed:
            waiting = [urb for urb in self._pending.values() if urb.endpoint == endpoint]
            ended = [urb for urb in waiting if self._try_in(urb)]
            for urb in ended:
                del self._pending[urb.address]
                self._done.append(urb)
            self._changed.notify_all()
        if ended:
            self._on_ready()

    def _finish_pending(self, status: int, which: Callable[[Urb], bool]) -> None:
        with self._changed:
            for urb in [urb for urb in self._pending.values() if which(urb)]:
                del self._pending[urb.address]
                urb.finish(status)
                self._done.append(urb)
            self._changed.notify_all()
        self._on_ready()

    # Interfaces and drivers.

    def _use_interface(self, interface: int) -> None:
        """Claims ``interface`` if nobody holds it, as the real usbfs does for a program that forgot to."""
        self._attachment.claim(self, interface)

    def _use_endpoint(self, endpoint: int) -> None:
        self._use_interface(self._attachment.interface_of_endpoint(endpoint))

    def _claim(self, argument: int, memory: ClientMemory) -> int:
        self._attachment.claim(self, _uint(memory, argument))
        return 0

    def _release(self, argument: int, memory: ClientMemory) -> int:
        interface = _uint(memory, argument)
        self._attachment.release(self, interface)
        self.lost_interface(interface)
        return 0

    def _get_driver(self, argument: int, memory: ClientMemory) -> int:
        driver = self._attachment.driver_of(_uint(memory, argument))
        if driver is None:
            raise OSError(errno.ENODATA, "no driver")
        memory.write(argument + 4, driver.encode().ljust(abi.DRIVER_NAME_SIZE, b"\0"))
        return 0

    def _disconnect_claim(self, argument: int, memory: ClientMemory) -> int:
        raw = memory.read(argument, 8 + abi.DRIVER_NAME_SIZE)
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

    def _driver_ioctl(self, argument: int, memory: ClientMemory) -> int:
        interface, code = struct.unpack("<iI", memory.read(argument, 8))
        if not self._attachment.has_interface(interface):
            raise OSError(errno.EINVAL, f"no interface {interface}")
        if code == abi.IOCTL_DISCONNECT:
            self._attachment.disconnect_driver(interface)
            return 0
        if code == abi.IOCTL_CONNECT:
            return int(self._attachment.connect_driver(interface))
        raise OSError(errno.ENOTTY, f"driver request {code:#x}")

    # The device as a whole.

    def _capabilities(self, argument: int, memory: ClientMemory) -> int:
        known = Capability.ZERO_PACKET | Capability.NO_PACKET_SIZE_LIM | Capability.REAP_AFTER_DISCONNECT
        memory.write(argument, struct.pack("<I", known))
        return 0

    def _connect_info(self, argument: int, memory: ClientMemory) -> int:
        memory.write(argument, struct.pack("<IB3x", self._attachment.devnum, self._device.speed == "1.5"))
        return 0

    def _set_interface(self, argument: int, memory: ClientMemory) -> int:
        interface, alternate = struct.unpack("<II", memory.read(argument, 8))
        self._use_interface(interface)
        if self._attachment.setting(interface, alternate) is None:
            raise OSError(errno.EINVAL, f"no alternate setting {alternate}")
        self._transfer(Setup(0x01, _SET_INTERFACE, alternate, interface, 0), b"")
        return 0

    def _set_configuration(self, argument: int, memory: ClientMemory) -> int:
        wanted = _uint(memory, argument)
        with self._attachment.lock:
            if self._attachment.holders:
                raise OSError(errno.EBUSY, "an interface is in use")
        if wanted != self._device.configuration_descriptor[5]:
            raise OSError(errno.EINVAL, f"no configuration {wanted}")
        self._transfer(Setup(0x00, _SET_CONFIGURATION, wanted, 0, 0), b"")
        return 0

    def _clear_halt(self, argument: int, memory: ClientMemory) -> int:
        self._use_endpoint(_uint(memory, argument))
        return 0

    def _reset(self, _argument: int, _memory: ClientMemory) -> int:
        self._attachment.reset()
        return 0

    # Transfers.

    def _reach(self) -> None:
        """Raises ``OSError`` EPROTO while the cable is pulled and the hub has not looked."""
        if not self._attachment.present:
            raise OSError(errno.EPROTO, "no answer")

    def _transfer(self, setup: Setup, data: bytes) -> bytes:
        with self._attachment.control_lock:
            self._reach()
            try:
                return self._device.control(setup, data)
            except NoAnswer:
                raise OSError(errno.EPROTO, "no answer") from None
            except Stall:
                raise OSError(errno.EPIPE, "stall") from None

    def _check_recipient(self, setup: Setup) -> None:
        """Requests to an interface or endpoint need its claim; vendor requests do not."""
        if setup.type == TYPE_VENDOR:
            return
        if setup.recipient == 1:
            self._use_interface(setup.w_index & 0xFF)
        elif setup.recipient == 2 and setup.w_index & 0x7F:
            self._use_endpoint(setup.w_index & 0xFF)

    def _control(self, argument: int, memory: ClientMemory) -> int:
        raw = memory.read(argument, 24)
        setup = Setup.parse(raw)
        (buffer,) = struct.unpack_from("<Q", raw, 16)
        if setup.w_length > abi.PAGE_SIZE:
            raise OSError(errno.EINVAL, "more than a page")
        self._check_recipient(setup)
        if setup.is_in:
            answer = self._transfer(setup, b"")
            memory.write(buffer, answer)
            return len(answer)
        self._transfer(setup, memory.read(buffer, setup.w_length))
        return setup.w_length

    def _bulk(self, transfer: BulkTransfer, memory: ClientMemory, waiting: Waiting) -> int:
        self._use_endpoint(transfer.endpoint)
        if transfer.length > abi.MAX_TRANSFER:
            raise OSError(errno.EINVAL, "too long")
        if not transfer.endpoint & 0x80:
            self._reach()
            try:
                self._device.bulk_out(transfer.endpoint, memory.read(transfer.buffer, transfer.length))
            except Stall:
                raise OSError(errno.EPIPE, "stall") from None
            return transfer.length
        data = self._wait_in(transfer, waiting)
        memory.write(transfer.buffer, data)
        return len(data)

    def _wait_in(self, transfer: BulkTransfer, waiting: Waiting) -> bytes:
        deadline = time.monotonic() + transfer.timeout / 1000 if transfer.timeout else None
        with self._changed:
            while True:
                if not self._attachment.connected:
                    raise OSError(errno.ENODEV, "unplugged")
                try:
                    present = self._attachment.present
                    data = self._device.bulk_in(transfer.endpoint, transfer.length) if present else None
                except Stall:
                    raise OSError(errno.EPIPE, "stall") from None
                if data is not None:
                    return data
                if waiting.interrupted:
                    raise OSError(errno.EINTR, "signal")
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise OSError(errno.ETIMEDOUT, "no data")
                self._changed.wait(left)

    def _submit(self, argument: int, memory: ClientMemory) -> int:
        urb = Urb.parse(argument, memory.read(argument, abi.URB_SIZE))
        if urb.flags & ~abi.URB_KNOWN_FLAGS or not 0 <= urb.length <= abi.MAX_TRANSFER:
            raise OSError(errno.EINVAL, "flags or length")
        if urb.type == UrbType.CONTROL:
            self._run_control(urb, memory)
        elif urb.type in (UrbType.BULK, UrbType.INTERRUPT):
            self._run_data(urb, memory)
        else:
            raise OSError(errno.EINVAL, f"transfer type {urb.type}")
        return 0

    def _run_control(self, urb: Urb, memory: ClientMemory) -> None:
        if urb.endpoint & 0x7F or urb.length < 8:
            raise OSError(errno.EINVAL, "control transfer")
        setup = Setup.parse(memory.read(urb.buffer, 8))
        if setup.w_length > urb.length - 8:
            raise OSError(errno.EINVAL, "wLength")
        self._check_recipient(setup)
        data = b"" if setup.is_in else memory.read(urb.buffer + 8, setup.w_length)
        urb.buffer += 8
        try:
            answer = self._transfer(setup, data)
        except OSError as error:
            urb.finish(-(error.errno or errno.EPIPE))
        else:
            urb.finish(0, answer, len(answer) if setup.is_in else setup.w_length)
        self._complete(urb)

    def _run_data(self, urb: Urb, memory: ClientMemory) -> None:
        self._use_endpoint(urb.endpoint)
        if self._attachment.endpoint_type(urb.endpoint) not in (2, 3):
            raise OSError(errno.EINVAL, "endpoint type")
        if urb.is_in:
            with self._changed:
                self._pending[urb.address] = urb
            self.in_ready(urb.endpoint)
            if not self._attachment.connected:
                self.lost_device()
            return
        data = memory.read(urb.buffer, urb.length)
        try:
            self._reach()
            self._device.bulk_out(urb.endpoint, data)
            urb.finish(0, actual=urb.length)
        except Stall:
            urb.finish(-errno.EPIPE)
        except OSError as error:
            urb.finish(-(error.errno or errno.EPROTO))
        self._complete(urb)

    def _try_in(self, urb: Urb) -> bool:
        """Ends an IN transfer if the device has something to say."""
        if not self._attachment.present:
            return False
        try:
            data = self._device.bulk_in(urb.endpoint, urb.length)
        except Stall:
            urb.finish(-errno.EPIPE)
            return True
        if data is None:
            return False
        short = len(data) < urb.length and urb.flags & abi.URB_SHORT_NOT_OK
        urb.finish(-errno.EREMOTEIO if short else 0, data)
        return True

    def _complete(self, urb: Urb) -> None:
        with self._changed:
            self._done.append(urb)
            self._changed.notify_all()
        self._on_ready()

    def _discard(self, argument: int, _memory: ClientMemory) -> int:
        with self._changed:
            urb = self._pending.pop(argument, None)
            if urb is None:
                raise OSError(errno.EINVAL, "not under way")
            urb.finish(-errno.ENOENT)
        self._complete(urb)
        return 0

    def _reap(self, argument: int, memory: ClientMemory, waiting: Waiting | None) -> int:
        with self._changed:
            while not self._done:
                if not self._attachment.connected:
                    raise OSError(errno.ENODEV, "unplugged")
                if waiting is None:
                    raise OSError(errno.EAGAIN, "nothing to reap")
                if waiting.interrupted:
                    raise OSError(errno.EINTR, "signal")
                self._changed.wait()
            urb = self._done.popleft()
        if urb.data:
            memory.write(urb.buffer, urb.data)
        memory.write(urb.address + abi.URB_STATUS_OFFSET, struct.pack("<i", urb.status))
        memory.write(urb.address + abi.URB_ACTUAL_LENGTH_OFFSET, struct.pack("<i", urb.actual))
        memory.write(argument, struct.pack("<Q", urb.address))
        return 0


def _uint(memory: ClientMemory, address: int) -> int:
    return int.from_bytes(memory.read(address, 4), "little")
