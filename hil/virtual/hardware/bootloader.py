"""The bootloader's face: DFU with ST's extensions (DfuSe), as Particle's bootloaders speak it.

``dfu-util`` drives it unmodified. Facts: USB fact sheet 1.4, 2.2 and 5.2; the file names the few points where the
generations differ.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import IntEnum

from hil.device.families import DfuDialect
from hil.device.platforms import Platform
from hil.device.releases import version_tuple
from hil.errors import Signal
from hil.virtual.hardware.descriptors import MICROSOFT_VENDOR_CODE, dfu_face, microsoft_compatible_id
from hil.virtual.hardware.flash import Flash, FlashFault, OutsideFlash
from hil.virtual.kernel.usbdevice import TYPE_CLASS, TYPE_VENDOR, Setup, Stall, UsbDevice

GEN3_LEAVE_DELAY = 0.5  # seconds from reporting dfuMANIFEST to the reset
GEN2_LEAVE_DELAY = 0.1

_SET_ADDRESS, _ERASE, _ENTER_SAFE_MODE, _CLEAR_SECURITY_OVERRIDE = 0x21, 0x41, 0xFA, 0xFB
_FIRST_DATA_BLOCK = 2


class DfuRequest(IntEnum):
    """bRequest of the DFU class."""

    DETACH = 0
    DNLOAD = 1
    UPLOAD = 2
    GETSTATUS = 3
    CLRSTATUS = 4
    GETSTATE = 5
    ABORT = 6


class DfuState(IntEnum):
    """bState."""

    IDLE = 2
    DNLOAD_SYNC = 3
    DNBUSY = 4
    DNLOAD_IDLE = 5
    MANIFEST_SYNC = 6
    MANIFEST = 7
    WAIT_RESET = 8
    UPLOAD_IDLE = 9
    ERROR = 10


class DfuStatus(IntEnum):
    """bStatus, those that this bootloader gives."""

    OK = 0x00
    ERR_TARGET = 0x01
    ERR_WRITE = 0x03
    ERR_ADDRESS = 0x08
    ERR_UNKNOWN = 0x0E
    ERR_STALLED = 0x0F


class _Fault(Signal):
    """An action that failed; ends in dfuERROR with this status."""

    def __init__(self, status: DfuStatus) -> None:
        super().__init__(status.name)
        self.status = status


class Bootloader(UsbDevice):
    """DFU mode of one board.

    ``memories`` are in the order of the alternate settings. ``leave(safe_mode, delay)`` is called once when the host
    has been told that the board goes; the board resets ``delay`` seconds later. ``poll_timeout`` (ms) is what the host
    is told to wait while an action runs.
    """

    def __init__(
        self,
        platform: Platform,
        device_os: str,
        device_id: str,
        memories: Sequence[Flash],
        leave: Callable[[bool, float], None],
        *,
        poll_timeout: int = 0,
    ) -> None:
        face = dfu_face(platform, device_os, device_id)
        super().__init__(face.device, face.configuration, face.strings)
        self._transfer_size = platform.dfu_transfer_size
        self._nrf52 = platform.family.dfu_dialect is DfuDialect.NRF52
        self._safe_mode_command = self._nrf52 and version_tuple(device_os) >= (6, 0, 0)
        self._memories = tuple(memories)
        self._leave = leave
        self._poll_timeout = poll_timeout
        self._lock = threading.Lock()
        self._state = DfuState.IDLE
        self._status = DfuStatus.OK
        self._action: Callable[[], None] | None = None
        self._leaving = False
        self._to_safe_mode = False
        self._pointer = self._memories[0].layout.start

    @property
    def state(self) -> DfuState:
        return self._state

    def class_or_vendor(self, setup: Setup, data: bytes) -> bytes:
        if setup.type == TYPE_VENDOR and setup.b_request == MICROSOFT_VENDOR_CODE:
            return microsoft_compatible_id(setup, 0)
        if setup.type != TYPE_CLASS or setup.w_index & 0xFF:
            raise Stall
        with self._lock:
            return self._answer(setup, data)

    def on_detached(self) -> None:
        """A cable pulled in the middle leaves what was written so far."""
        self._flush()

    def _answer(self, setup: Setup, data: bytes) -> bytes:
        match setup.b_request:
            case DfuRequest.DNLOAD if not setup.is_in:
                self._download(setup, data)
                return b""
            case DfuRequest.UPLOAD if setup.is_in:
                return self._upload(setup)
            case DfuRequest.GETSTATUS if setup.is_in:
                return self._get_status()
            case DfuRequest.GETSTATE if setup.is_in:
                return bytes([self._state])
            case DfuRequest.CLRSTATUS:
                self._clear_status()
                return b""
            case DfuRequest.ABORT:
                self._abort()
                return b""
            case DfuRequest.DETACH:
                return b""
        raise Stall

    # -- download ----------------------------------------------------------------------------------

    def _download(self, setup: Setup, data: bytes) -> None:
        if self._state not in (DfuState.IDLE, DfuState.DNLOAD_IDLE):
            raise self._refuse()
        if not data:
            self._state = DfuState.MANIFEST_SYNC
            return
        if len(data) > self._transfer_size:
            raise self._refuse()
        self._action = self._command(data) if setup.w_value == 0 else self._block(setup.w_value, data)
        self._state = DfuState.DNLOAD_SYNC

    def _command(self, data: bytes) -> Callable[[], None]:
        """The action of a DfuSe command. It runs after the host was told that the board is busy."""
        address = int.from_bytes(data[1:5], "little")
        if data[0] == _SET_ADDRESS and len(data) == 5:
            return lambda: self._set_address(address)
        if data[0] == _ERASE and len(data) == 5:
            return lambda: self._erase(address)
        if self._safe_mode_command and data[0] == _ENTER_SAFE_MODE:
            return self._enter_safe_mode
        if self._safe_mode_command and data[0] == _CLEAR_SECURITY_OVERRIDE:
            return lambda: None
        return self._failing(DfuStatus.ERR_TARGET if data == bytes([_ERASE]) else DfuStatus.ERR_STALLED)

    def _block(self, number: int, data: bytes) -> Callable[[], None]:
        if number < _FIRST_DATA_BLOCK:
            return self._failing(DfuStatus.ERR_TARGET)
        return lambda: self._write(self._address_of(number), data)

    def _failing(self, status: DfuStatus) -> Callable[[], None]:
        """What Gen 3 finds out only when it acts is refused by Gen 2 at once. Raises ``Stall`` there."""
        if not self._nrf52:
            raise self._refuse()

        def fail() -> None:
            raise _Fault(status)

        return fail

    def _enter_safe_mode(self) -> None:
        """The board leaves as after a download, but into safe mode."""
        self._to_safe_mode = True

    def _set_address(self, address: int) -> None:
        """Gen 3 takes any address; a wrong one shows when it is used."""
        try:
            self._memory.sector_at(address)
        except OutsideFlash as error:
            if not self._nrf52:
                raise _Fault(DfuStatus.ERR_ADDRESS) from error
        self._pointer = address

    def _erase(self, address: int) -> None:
        try:
            self._memory.erase(address)
        except OutsideFlash as error:
            raise self._fault(DfuStatus.ERR_ADDRESS) from error
        except FlashFault as error:
            raise self._fault(DfuStatus.ERR_TARGET) from error

    def _write(self, address: int, data: bytes) -> None:
        try:
            self._memory.write(address, data)
        except OutsideFlash as error:
            raise self._fault(DfuStatus.ERR_ADDRESS) from error
        except FlashFault as error:
            raise self._fault(DfuStatus.ERR_WRITE) from error

    def _fault(self, status: DfuStatus) -> _Fault:
        return _Fault(self._said(status))

    def _said(self, status: DfuStatus) -> DfuStatus:
        """Gen 3 has one status for all that the memories do not do."""
        return DfuStatus.ERR_UNKNOWN if self._nrf52 else status

    # -- upload ------------------------------------------------------------------------------------

    def _upload(self, setup: Setup) -> bytes:
        if self._state not in (DfuState.IDLE, DfuState.UPLOAD_IDLE):
            raise self._refuse()
        if setup.w_length > self._transfer_size:
            raise self._refuse()
        if setup.w_value == 0:
            return self._commands()[: setup.w_length]
        if setup.w_value < _FIRST_DATA_BLOCK:
            raise self._refuse()
        try:
            data = self._memory.read(self._address_of(setup.w_value), setup.w_length)
        except FlashFault as error:
            raise self._refuse(DfuStatus.ERR_ADDRESS) from error
        # A short block ends the upload.
        self._state = DfuState.UPLOAD_IDLE if len(data) == setup.w_length else DfuState.IDLE
        return data

    def _commands(self) -> bytes:
        known = bytes((0x00, _SET_ADDRESS, _ERASE))
        return (
            known + bytes((_ENTER_SAFE_MODE, _CLEAR_SECURITY_OVERRIDE)) if self._safe_mode_command else known
        )

    # -- states ------------------------------------------------------------------------------------

    def _get_status(self) -> bytes:
        if self._state is DfuState.DNLOAD_SYNC:
            return self._sync()
        if self._state is DfuState.MANIFEST_SYNC:
            return self._manifest()
        if self._state is DfuState.WAIT_RESET:
            raise self._refuse()
        return self._report(self._state)

    def _sync(self) -> bytes:
        """First poll after a DNLOAD: say busy, then act. The next poll says how it went."""
        action, self._action = self._action, None
        if action is None:
            self._state = DfuState.DNLOAD_IDLE
            return self._report(self._state)
        busy = self._report(DfuState.DNBUSY, self._poll_timeout)
        try:
            action()
        except _Fault as fault:
            self._fail(fault.status)
        if self._to_safe_mode:
            self._state = DfuState.MANIFEST_SYNC
        return busy

    def _manifest(self) -> bytes:
        """Gen 2 says dfuDNLOAD_IDLE where Gen 3 says dfuMANIFEST; both reset."""
        gen3 = self._nrf52
        if not self._leaving:
            self._leaving = True
            self._flush()
            self._leave(self._to_safe_mode, GEN3_LEAVE_DELAY if gen3 else GEN2_LEAVE_DELAY)
        if gen3:
            self._state = DfuState.WAIT_RESET
            return self._report(DfuState.MANIFEST)
        return self._report(DfuState.DNLOAD_IDLE)

    def _clear_status(self) -> None:
        if self._state is DfuState.ERROR or not self._nrf52:
            self._state, self._status = DfuState.IDLE, DfuStatus.OK
            return
        raise self._refuse()

    def _abort(self) -> None:
        if self._state in (DfuState.ERROR, DfuState.WAIT_RESET):
            raise self._refuse()
        self._action = None
        self._state = DfuState.IDLE
        self._flush()

    def _report(self, state: DfuState, poll_timeout: int = 0) -> bytes:
        return bytes([self._status]) + poll_timeout.to_bytes(3, "little") + bytes([state, 0])

    def _fail(self, status: DfuStatus) -> None:
        self._state, self._status, self._action = DfuState.ERROR, status, None

    def _refuse(self, status: DfuStatus = DfuStatus.ERR_STALLED) -> Stall:
        """What is not allowed now is stalled and leaves the board in dfuERROR; one already there keeps its status."""
        if self._state is not DfuState.ERROR:
            self._fail(self._said(status))
        return Stall(status.name)

    @property
    def _memory(self) -> Flash:
        chosen = self.alternate.get(0, 0)
        return self._memories[chosen] if chosen < len(self._memories) else self._memories[0]

    def _address_of(self, block: int) -> int:
        return self._pointer + (block - _FIRST_DATA_BLOCK) * self._transfer_size

    def _flush(self) -> None:
        for memory in self._memories:
            memory.flush()
