"""usbfs requests one by one, with the errno of drivers/usb/core/devio.c; client memory is a dictionary of pages."""

from __future__ import annotations

import errno
import struct
import threading

import pytest

from hil.virtual.kernel import usbfs_abi as abi
from hil.virtual.kernel.attachment import Attachment
from hil.virtual.kernel.usbfs import UsbFile
from hil.virtual.kernel.usbfs_abi import Ioctl, UrbType
from hil.virtual.kernel.usbfs_transfers import Waiting
from tests.virtual import devices

ARG, URB, BUFFER, DATA = 0x1000, 0x2000, 0x3000, 0x4000


class Memory:
    """A client's memory: 64 KB that begin at address 0."""

    def __init__(self) -> None:
        self.bytes = bytearray(0x10000)
        self.signals: list[tuple[int, int, int]] = []

    def read(self, address: int, length: int) -> bytes:
        if address + length > len(self.bytes):
            raise OSError(errno.EFAULT, "outside")
        return bytes(self.bytes[address : address + length])

    def write(self, address: int, data: bytes) -> None:
        self.bytes[address : address + len(data)] = data

    def signal(self, number: int, error: int, address: int) -> None:
        self.signals.append((number, error, address))


class Drivers:
    """cdc_acm on interfaces 0 and 1, without sysfs and events."""

    def __init__(self) -> None:
        self.claims: list[tuple[int, bool]] = []

    def unbind_driver(self, attachment: Attachment, interface: int) -> None:
        assert interface in (0, 1)
        for number in (0, 1):
            attachment.holders.pop(number, None)
        assert attachment.device.serial is not None
        attachment.device.serial.send = attachment.device.serial_to_endpoint

    def probe_driver(self, attachment: Attachment, interface: int) -> bool:
        if interface != 0 or 1 in attachment.holders:
            return False
        attachment.holders |= {0: "cdc_acm", 1: "cdc_acm"}
        return True

    def show_claim(self, _attachment: Attachment, interface: int, claimed: bool) -> None:
        self.claims.append((interface, claimed))

    def reset_device(self, attachment: Attachment) -> None:
        attachment.device.reset()


class Bench:
    """An attached CDC device and files open on it."""

    def __init__(self) -> None:
        self.device = devices.CdcDevice()
        self.drivers = Drivers()
        self.attachment = Attachment(self.device, 2, self.drivers, threading.RLock())
        self.attachment.holders |= {0: "cdc_acm", 1: "cdc_acm"}
        self.device.in_ready = self._in_ready
        self.memory = Memory()
        self.wakeups = 0
        self.files: list[UsbFile] = []
        self.file = self.open()

    def open(self, *, writable: bool = True) -> UsbFile:
        file = UsbFile(self.attachment, writable=writable, on_ready=self._wake)
        self.files.append(file)
        return file

    def _wake(self) -> None:
        self.wakeups += 1

    def _in_ready(self, endpoint: int) -> None:
        for file in self.files:
            file.in_ready(endpoint)

    def ioctl(self, request: int, argument: bytes = b"", file: UsbFile | None = None) -> int:
        self.memory.write(ARG, argument)
        return (file or self.file).ioctl(request, ARG, self.memory, Waiting())

    def fails(self, number: int, request: int, argument: bytes = b"", file: UsbFile | None = None) -> None:
        with pytest.raises(OSError) as caught:
            self.ioctl(request, argument, file)
        assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[number]

    def submit(
        self,
        kind: int,
        endpoint: int,
        data: bytes,
        *,
        length: int | None = None,
        flags: int = 0,
        signal: int = 0,
    ) -> int:
        size = len(data) if length is None else length
        self.memory.write(BUFFER, data)
        urb = struct.pack("<BBxxiI4xQiiiiiIQ", kind, endpoint, 0, flags, BUFFER, size, 0, 0, 0, 0, signal, 0)
        self.memory.write(URB, urb)
        return self.file.ioctl(Ioctl.SUBMITURB, URB, self.memory, Waiting())

    def reap(self) -> tuple[int, int, bytes]:
        """(status, actual length, buffer) of the URB that is done."""
        self.ioctl(Ioctl.REAPURBNDELAY)
        assert struct.unpack("<Q", self.memory.read(ARG, 8)) == (URB,)
        (status,) = struct.unpack("<i", self.memory.read(URB + 4, 4))
        (actual,) = struct.unpack("<i", self.memory.read(URB + 28, 4))
        return status, actual, self.memory.read(BUFFER, 64)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def uint(value: int) -> bytes:
    return struct.pack("<I", value)


def control(kind: int, request: int, value: int, index: int, length: int) -> bytes:
    return struct.pack("<BBHHHI4xQ", kind, request, value, index, length, 1000, DATA)


def test_an_interface_of_cdc_acm_is_busy_to_all(bench: Bench) -> None:
    bench.fails(errno.EBUSY, Ioctl.CLAIMINTERFACE, uint(0))
    bench.fails(errno.EBUSY, Ioctl.CLAIMINTERFACE, uint(1))
    bulk = struct.pack("<III4xQ", 0x01, 4, 100, DATA)
    bench.fails(errno.EBUSY, Ioctl.BULK, bulk)
    with pytest.raises(OSError) as caught:
        bench.submit(UrbType.BULK, 0x01, b"data")
    assert caught.value.errno == errno.EBUSY
    bench.fails(errno.EBUSY, Ioctl.SETCONFIGURATION, uint(1))
    bench.fails(errno.EBUSY, Ioctl.CONTROL, control(0x21, 0x22, 1, 0, 0))


def test_vendor_requests_need_no_claim(bench: Bench) -> None:
    bench.memory.write(DATA, b"abc")
    assert bench.ioctl(Ioctl.CONTROL, control(0x40, 0x50, 0, 0, 3)) == 3
    assert bench.ioctl(Ioctl.CONTROL, control(0xC0, 0x50, 1, 2, 64)) == 7
    assert bench.memory.read(DATA, 7) == b"\x01\0\x02\0abc"
    bench.fails(errno.EPIPE, Ioctl.CONTROL, control(0xC0, 0x51, 1, 2, 64))
    bench.fails(errno.EINVAL, Ioctl.CONTROL, control(0xC0, 0x50, 1, 2, 4097))


def test_the_name_of_the_driver(bench: Bench) -> None:
    bench.ioctl(Ioctl.GETDRIVER, uint(0))
    assert bench.memory.read(ARG + 4, 8) == b"cdc_acm\0"
    bench.fails(errno.ENODATA, Ioctl.GETDRIVER, uint(2))
    bench.ioctl(Ioctl.CLAIMINTERFACE, uint(2))
    bench.ioctl(Ioctl.GETDRIVER, uint(2))
    assert bench.memory.read(ARG + 4, 6) == b"usbfs\0"


def test_a_claim_belongs_to_one_file_until_it_closes(bench: Bench) -> None:
    other = bench.open()
    bench.ioctl(Ioctl.CLAIMINTERFACE, uint(2))
    bench.ioctl(Ioctl.CLAIMINTERFACE, uint(2))
    bench.fails(errno.EBUSY, Ioctl.CLAIMINTERFACE, uint(2), other)
    bench.fails(errno.EINVAL, Ioctl.RELEASEINTERFACE, uint(2), other)
    bench.fails(errno.ENOENT, Ioctl.CLAIMINTERFACE, uint(7))
    bench.file.close()
    bench.ioctl(Ioctl.CLAIMINTERFACE, uint(2), other)
    bench.ioctl(Ioctl.RELEASEINTERFACE, uint(2), other)
    assert bench.drivers.claims == [(2, True), (2, False), (2, True), (2, False)]


def driver_request(interface: int, code: int) -> bytes:
    return struct.pack("<iIQ", interface, code, 0)


def test_detaching_the_driver_frees_both_interfaces_and_attaching_takes_them(bench: Bench) -> None:
    bench.ioctl(Ioctl.IOCTL, driver_request(1, abi.IOCTL_DISCONNECT))
    assert bench.attachment.holders == {}
    bench.fails(errno.ENODATA, Ioctl.IOCTL, driver_request(0, abi.IOCTL_DISCONNECT))
    assert bench.ioctl(Ioctl.IOCTL, driver_request(1, abi.IOCTL_CONNECT)) == 0
    assert bench.ioctl(Ioctl.IOCTL, driver_request(0, abi.IOCTL_CONNECT)) == 1
    bench.fails(errno.EBUSY, Ioctl.IOCTL, driver_request(0, abi.IOCTL_CONNECT))
    bench.fails(errno.EINVAL, Ioctl.IOCTL, driver_request(9, abi.IOCTL_CONNECT))


def disconnect_claim(interface: int, flags: int, driver: bytes) -> bytes:
    return struct.pack("<II256s", interface, flags, driver)


def test_disconnect_claim_asks_which_driver_it_may_replace(bench: Bench) -> None:
    bench.fails(errno.EBUSY, Ioctl.DISCONNECT_CLAIM, disconnect_claim(1, 1, b"usbfs"))
    bench.fails(errno.EBUSY, Ioctl.DISCONNECT_CLAIM, disconnect_claim(1, 2, b"cdc_acm"))
    bench.fails(errno.EINVAL, Ioctl.DISCONNECT_CLAIM, disconnect_claim(9, 0, b""))
    bench.ioctl(Ioctl.DISCONNECT_CLAIM, disconnect_claim(1, 1, b"cdc_acm"))
    assert bench.attachment.holders == {1: bench.file}


def claimed(bench: Bench) -> None:
    bench.ioctl(Ioctl.DISCONNECT_CLAIM, disconnect_claim(1, 0, b""))


def test_bytes_of_the_board_end_a_waiting_read(bench: Bench) -> None:
    claimed(bench)
    bench.submit(UrbType.BULK, 0x81, b"", length=64)
    bench.fails(errno.EAGAIN, Ioctl.REAPURBNDELAY)
    assert bench.file.poll() == (False, False)
    bench.device.face.send(b"hello")
    assert bench.file.poll() == (True, False)
    assert bench.wakeups == 1
    status, actual, data = bench.reap()
    assert (status, actual, data[:5]) == (0, 5, b"hello")


def test_a_short_answer_is_an_error_when_the_client_says_so(bench: Bench) -> None:
    claimed(bench)
    bench.submit(UrbType.BULK, 0x81, b"", length=64, flags=abi.URB_SHORT_NOT_OK)
    bench.device.face.send(b"hello")
    assert bench.reap()[:2] == (-errno.EREMOTEIO, 5)


def test_bytes_for_the_board_arrive_with_the_submission(bench: Bench) -> None:
    claimed(bench)
    bench.submit(UrbType.BULK, 0x01, b"to the board")
    assert bench.reap()[:2] == (0, 12)
    assert bench.device.face.seen == [("data", "to the board")]


def test_a_discarded_transfer_ends_with_enoent(bench: Bench) -> None:
    claimed(bench)
    bench.submit(UrbType.BULK, 0x81, b"", length=64)
    bench.file.ioctl(Ioctl.DISCARDURB, URB, bench.memory, Waiting())
    assert bench.reap()[:2] == (-errno.ENOENT, 0)
    with pytest.raises(OSError) as caught:
        bench.file.ioctl(Ioctl.DISCARDURB, URB, bench.memory, Waiting())
    assert caught.value.errno == errno.EINVAL


def test_a_control_transfer_carries_its_setup_in_the_buffer(bench: Bench) -> None:
    setup = struct.pack("<BBHHH", 0xC0, 0x50, 1, 2, 16)
    bench.submit(UrbType.CONTROL, 0, setup, length=8 + 16)
    status, actual, data = bench.reap()
    assert (status, actual) == (0, 4)
    assert data[8:12] == b"\x01\0\x02\0"
    bench.submit(UrbType.CONTROL, 0, struct.pack("<BBHHH", 0xC0, 0x51, 0, 0, 16), length=8 + 16)
    assert bench.reap()[0] == -errno.EPIPE


@pytest.mark.parametrize(
    ("kind", "endpoint", "length", "flags", "number"),
    [
        (UrbType.BULK, 0x05, 8, 0, errno.ENOENT),
        (UrbType.BULK, 0x01, 8, 0x100, errno.EINVAL),
        (UrbType.BULK, 0x01, -1, 0, errno.EINVAL),
        (UrbType.ISO, 0x01, 8, 0, errno.EINVAL),
        (UrbType.CONTROL, 0, 7, 0, errno.EINVAL),
        (UrbType.CONTROL, 0x81, 8, 0, errno.EINVAL),
    ],
)
def test_wrong_submissions(
    bench: Bench, kind: int, endpoint: int, length: int, flags: int, number: int
) -> None:
    claimed(bench)
    with pytest.raises(OSError) as caught:
        bench.submit(kind, endpoint, b"", length=length, flags=flags)
    assert caught.value.errno == number


def test_a_setup_may_not_ask_for_more_than_the_buffer(bench: Bench) -> None:
    with pytest.raises(OSError) as caught:
        bench.submit(UrbType.CONTROL, 0, struct.pack("<BBHHH", 0xC0, 0x50, 1, 2, 64), length=8 + 16)
    assert caught.value.errno == errno.EINVAL


def test_an_unplug_ends_transfers_and_leaves_only_reaping(bench: Bench) -> None:
    claimed(bench)
    bench.submit(UrbType.BULK, 0x81, b"", length=64)
    bench.attachment.disconnect()
    assert bench.file.poll() == (True, True)
    assert bench.reap()[:2] == (-errno.ESHUTDOWN, 0)
    bench.fails(errno.ENODEV, Ioctl.REAPURBNDELAY)
    bench.fails(errno.ENODEV, Ioctl.GETDRIVER, uint(0))
    with pytest.raises(OSError) as caught:
        bench.file.read(0, 18)
    assert caught.value.errno == errno.ENODEV
    bench.file.close()
    assert bench.attachment.holders == {}


def in_thread(
    bench: Bench, request: int, argument: bytes, waiting: Waiting
) -> tuple[threading.Thread, list[int]]:
    result: list[int] = []
    bench.memory.write(ARG, argument)

    def call() -> None:
        try:
            result.append(bench.file.ioctl(request, ARG, bench.memory, waiting))
        except OSError as error:
            result.append(-(error.errno or 0))

    thread = threading.Thread(target=call)
    thread.start()
    return thread, result


def test_a_waiting_reap_ends_by_a_signal(bench: Bench) -> None:
    waiting = Waiting()
    thread, result = in_thread(bench, Ioctl.REAPURB, b"", waiting)
    bench.file.interrupt(waiting)
    thread.join(5)
    assert result == [-errno.EINTR]


def test_a_waiting_bulk_read_ends_by_an_unplug(bench: Bench) -> None:
    """Issue 6, point 14: ESHUTDOWN, for the transfer was under way; ENODEV is for those that come later."""
    claimed(bench)
    asked = threading.Event()
    bench.device.asked_for_bytes = asked.set
    thread, result = in_thread(bench, Ioctl.BULK, struct.pack("<III4xQ", 0x81, 64, 0, DATA), Waiting())
    assert asked.wait(5)
    bench.attachment.disconnect()
    thread.join(5)
    assert result == [-errno.ESHUTDOWN]
    bench.fails(errno.ENODEV, Ioctl.BULK, struct.pack("<III4xQ", 0x81, 64, 0, DATA))


def test_a_bulk_read_without_data_times_out(bench: Bench) -> None:
    claimed(bench)
    bench.fails(errno.ETIMEDOUT, Ioctl.BULK, struct.pack("<III4xQ", 0x81, 64, 1, DATA))


def test_small_requests(bench: Bench) -> None:
    bench.ioctl(Ioctl.GET_CAPABILITIES)
    assert struct.unpack("<I", bench.memory.read(ARG, 4)) == (0x1FD & ~0x20,)
    assert bench.ioctl(Ioctl.GET_SPEED) == 2
    bench.ioctl(Ioctl.CONNECTINFO)
    assert bench.memory.read(ARG, 5) == b"\x02\0\0\0\0"
    bench.fails(errno.ENOTTY, 0x5524)
    bench.fails(errno.EPERM, Ioctl.GET_SPEED, b"", bench.open(writable=False))
    assert bench.file.read(0, 18) == bench.device.device_descriptor


def test_an_alternate_setting_must_exist_and_the_interface_be_ours(bench: Bench) -> None:
    bench.ioctl(Ioctl.SETINTERFACE, struct.pack("<II", 2, 0))
    assert bench.attachment.driver_of(2) == "usbfs"
    bench.fails(errno.EINVAL, Ioctl.SETINTERFACE, struct.pack("<II", 2, 1))
    bench.fails(errno.EBUSY, Ioctl.SETINTERFACE, struct.pack("<II", 1, 0))
