"""The transfers of one open file on /dev/bus/usb: submitted, under way, done; and the requests that wait for one.

Checks and errno values in the order of drivers/usb/core/devio.c.
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
from hil.virtual.kernel.usbfs_abi import BulkTransfer, Urb, UrbType

_BULK, _INTERRUPT = 2, 3  # endpoint types


class Caller(Protocol):
    """The calling process: its memory, where a bad address is ``OSError`` EFAULT, and signals to it."""

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...

    def signal(self, number: int, error: int, address: int) -> None:
        """Signal ``number`` as usbfs sends it: ``si_errno`` and ``si_addr`` with SI_ASYNCIO."""


class Waiting:
    """A call that may wait; ``interrupted`` is set when a signal ends the caller's wait."""

    def __init__(self) -> None:
        self.interrupted = False


class Claims(Protocol):
    """The file's right to use parts of the device."""

    def use_interface(self, interface: int) -> None:
        """Claims ``interface`` if nobody holds it. Raises ``OSError``."""

    def use_endpoint(self, endpoint: int) -> int:
        """The same for the interface of ``endpoint``, which it returns."""


class Transfers:
    """What a file has under way and what can be reaped. ``on_ready`` as in ``UsbFile``."""

    def __init__(self, attachment: Attachment, claims: Claims, on_ready: Callable[[], None]) -> None:
        self._attachment = attachment
        self._claims = claims
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._pending: dict[int, Urb] = {}
        self._done: deque[Urb] = deque()

    @property
    def can_reap(self) -> bool:
        with self._changed:
            return bool(self._done)

    def interrupt(self, waiting: Waiting) -> None:
        """Ends a wait with EINTR."""
        with self._changed:
            waiting.interrupted = True
            self._changed.notify_all()

    def forget_all(self) -> None:
        """The file is closed."""
        with self._changed:
            self._pending.clear()
            self._done.clear()

    def wait_until_gone(self, waiting: Waiting) -> None:
        """Returns when the device leaves. Raises ``OSError`` EINTR."""
        with self._changed:
            while self._attachment.connected:
                if waiting.interrupted:
                    raise OSError(errno.EINTR, "signal")
                self._changed.wait()

    # Ends of transfers.

    def end(self, status: int, interface: int | None = None) -> None:
        """Everything under way, or what belongs to ``interface``, ends with ``status``."""
        with self._changed:
            ended = [urb for urb in self._pending.values() if interface in (None, urb.interface)]
            for urb in ended:
                urb.finish(status)
        self._complete(ended)

    def in_ready(self, endpoint: int) -> None:
        """The device has bytes on ``endpoint``: waiting transfers may end."""
        with self._changed:
            waiting = [urb for urb in self._pending.values() if urb.endpoint == endpoint]
            ended = [urb for urb in waiting if self._try_in(urb)]
            for urb in ended:
                del self._pending[urb.address]
            # Also for a synchronous read, which is none of these.
            self._changed.notify_all()
        if ended:
            self._complete(ended)

    def _complete(self, ended: list[Urb]) -> None:
        with self._changed:
            for urb in ended:
                self._pending.pop(urb.address, None)
                self._done.append(urb)
            self._changed.notify_all()
        self._on_ready()
        for urb in ended:
            if urb.on_done is not None:
                urb.on_done(urb.status)

    def _try_in(self, urb: Urb) -> bool:
        """Ends an IN transfer if the device has something to say."""
        try:
            data = self._attachment.bulk_in(urb.endpoint, urb.length)
        except Stall:
            urb.finish(-errno.EPIPE)
            return True
        if data is None:
            return False
        urb.finish(_status_of(urb, len(data), urb.length), data)
        return True

    # Requests.

    def control_transfer(self, setup: Setup, data: bytes) -> bytes:
        """One transfer on endpoint 0. Raises ``OSError`` EPIPE or EPROTO."""
        with self._attachment.control_lock:
            try:
                return self._attachment.control(setup, data)
            except Stall as stall:
                raise OSError(_errno_of(stall), "no answer, or a stall") from None

    def control(self, argument: int, caller: Caller) -> int:
        """CONTROL."""
        raw = caller.read(argument, 24)
        setup = Setup.parse(raw)
        (buffer,) = struct.unpack_from("<Q", raw, 16)
        self._check_recipient(setup)
        if setup.w_length > abi.PAGE_SIZE:
            raise OSError(errno.EINVAL, "more than a page")
        if setup.is_in:
            answer = self.control_transfer(setup, b"")
            caller.write(buffer, answer)
            return len(answer)
        self.control_transfer(setup, caller.read(buffer, setup.w_length))
        return setup.w_length

    def _check_recipient(self, setup: Setup) -> None:
        """Requests to an interface or endpoint need its claim; vendor requests do not."""
        if setup.type == TYPE_VENDOR:
            return
        if setup.recipient == 1:
            self._claims.use_interface(setup.w_index & 0xFF)
        elif setup.recipient == 2 and setup.w_index & 0x7F:
            self._claims.use_endpoint(setup.w_index & 0xFF)

    def bulk(self, argument: int, caller: Caller, waiting: Waiting) -> int:
        """BULK: waits for bytes of an IN endpoint. Raises ``OSError`` ESHUTDOWN when the device leaves meanwhile."""
        transfer = BulkTransfer.parse(caller.read(argument, 24))
        self._claims.use_endpoint(transfer.endpoint)
        _check_length(transfer.length)
        if not transfer.endpoint & 0x80:
            try:
                self._attachment.bulk_out(transfer.endpoint, caller.read(transfer.buffer, transfer.length))
            except Stall as stall:
                raise OSError(_errno_of(stall), "no answer, or a stall") from None
            return transfer.length
        data = self._wait_in(transfer, waiting)
        caller.write(transfer.buffer, data)
        return len(data)

    def _wait_in(self, transfer: BulkTransfer, waiting: Waiting) -> bytes:
        deadline = time.monotonic() + transfer.timeout / 1000 if transfer.timeout else None
        with self._changed:
            while True:
                if not self._attachment.connected:
                    raise OSError(errno.ESHUTDOWN, "unplugged")
                try:
                    data = self._attachment.bulk_in(transfer.endpoint, transfer.length)
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

    def submit(self, argument: int, caller: Caller) -> int:
        """SUBMITURB."""
        urb = Urb.parse(argument, caller.read(argument, abi.URB_SIZE))
        known = abi.URB_KNOWN_FLAGS | (abi.URB_ISO_ASAP if urb.type == UrbType.ISO else 0)
        if urb.flags & ~known:
            raise OSError(errno.EINVAL, f"flags {urb.flags:#x}")
        _check_length(urb.length)
        if urb.length and not urb.buffer:
            raise OSError(errno.EINVAL, "no buffer")
        if urb.signal:
            urb.on_done = lambda status: caller.signal(urb.signal, status, urb.address)
        if urb.type == UrbType.CONTROL and not urb.endpoint & 0x7F:
            self._run_control(urb, caller)
        else:
            self._run_data(urb, caller)
        return 0

    def _run_control(self, urb: Urb, caller: Caller) -> None:
        if urb.length < 8:
            raise OSError(errno.EINVAL, "control transfer")
        setup = Setup.parse(caller.read(urb.buffer, 8))
        if setup.w_length > urb.length - 8:
            raise OSError(errno.EINVAL, "wLength")
        self._check_recipient(setup)
        data = b"" if setup.is_in else caller.read(urb.buffer + 8, setup.w_length)
        urb.buffer += 8
        try:
            answer = self.control_transfer(setup, data)
        except OSError as error:
            urb.finish(-(error.errno or errno.EPIPE))
        else:
            actual = len(answer) if setup.is_in else setup.w_length
            urb.finish(_status_of(urb, actual, setup.w_length), answer, actual)
        self._complete([urb])

    def _run_data(self, urb: Urb, caller: Caller) -> None:
        urb.interface = self._claims.use_endpoint(urb.endpoint)
        # A bulk URB on an interrupt endpoint is taken as one of its own kind, not so the other way round.
        allowed = {int(UrbType.BULK): (_BULK, _INTERRUPT), int(UrbType.INTERRUPT): (_INTERRUPT,)}
        if self._attachment.endpoint_type(urb.endpoint) not in allowed.get(urb.type, ()):
            raise OSError(errno.EINVAL, "endpoint type")
        if urb.is_in:
            with self._changed:
                self._pending[urb.address] = urb
            self.in_ready(urb.endpoint)
            if not self._attachment.connected:
                self.end(-errno.ESHUTDOWN)
            return
        try:
            self._attachment.bulk_out(urb.endpoint, caller.read(urb.buffer, urb.length))
            urb.finish(0, actual=urb.length)
        except Stall as stall:
            urb.finish(-_errno_of(stall))
        self._complete([urb])

    def discard(self, argument: int, _caller: Caller) -> int:
        """DISCARDURB."""
        with self._changed:
            urb = self._pending.pop(argument, None)
            if urb is None:
                raise OSError(errno.EINVAL, "not under way")
            urb.finish(-errno.ENOENT)
        self._complete([urb])
        return 0

    def reap(self, argument: int, caller: Caller, waiting: Waiting | None) -> int:
        """REAPURB, and without ``waiting`` REAPURBNDELAY."""
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
            caller.write(urb.buffer, urb.data)
        caller.write(urb.address + abi.URB_STATUS_OFFSET, struct.pack("<i", urb.status))
        caller.write(urb.address + abi.URB_ACTUAL_LENGTH_OFFSET, struct.pack("<i", urb.actual))
        caller.write(argument, struct.pack("<Q", urb.address))
        return 0


def _errno_of(stall: Stall) -> int:
    """A pulled cable answers nothing until the hub has noticed."""
    return errno.EPROTO if isinstance(stall, NoAnswer) else errno.EPIPE


def _check_length(length: int) -> None:
    if not 0 <= length < abi.MAX_LENGTH:
        raise OSError(errno.EINVAL, f"{length} bytes")
    if length > abi.MAX_TRANSFER:
        raise OSError(errno.ENOMEM, f"{length} bytes")


def _status_of(urb: Urb, actual: int, wanted: int) -> int:
    """0, or that the answer is shorter than the client allows."""
    return -errno.EREMOTEIO if actual < wanted and urb.flags & abi.URB_SHORT_NOT_OK else 0
