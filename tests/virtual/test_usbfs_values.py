"""Issue 6, point 14: the values of usbfs that a real Linux 6.1 gave to the same questions."""

from __future__ import annotations

import errno
import struct

import pytest

from hil.virtual.kernel.attachment import Attachment, Way
from hil.virtual.kernel.roothub import RootHub
from hil.virtual.kernel.usbdevice import Setup
from hil.virtual.kernel.usbfs import UsbFile
from hil.virtual.kernel.usbfs_abi import Ioctl, UrbType
from hil.virtual.kernel.usbfs_transfers import Waiting
from tests.virtual.test_usbfs import (
    ARG,
    DATA,
    URB,
    Bench,
    bench,
    claimed,
    control,
    disconnect_claim,
    driver_request,
    uint,
)

__all__ = ["bench"]  # a fixture
SHORT_NOT_OK, ISO_ASAP = 1, 2


def conninfo_ex(size: int) -> int:
    return 0x80005520 | size << 16


def streams(number: int, *endpoints: int) -> bytes:
    return struct.pack("<II", number, len(endpoints)) + bytes(endpoints)


@pytest.mark.parametrize(
    ("request_", "argument", "real"),
    [
        (Ioctl.CLAIMINTERFACE, uint(64), errno.EINVAL),
        (Ioctl.CLAIMINTERFACE, uint(63), errno.ENOENT),
        (Ioctl.RELEASEINTERFACE, uint(9), errno.ENOENT),
        (Ioctl.RELEASEINTERFACE, uint(2), errno.EINVAL),
        (Ioctl.RELEASEINTERFACE, uint(64), errno.EINVAL),
        (Ioctl.CLEAR_HALT, uint(0x91), errno.EINVAL),
        (Ioctl.CLEAR_HALT, uint(0x8F), errno.ENOENT),
        (Ioctl.RESETEP, uint(0x101), errno.EINVAL),
        (Ioctl.ALLOC_STREAMS, streams(2, 0x81), errno.EINVAL),
        (Ioctl.FREE_STREAMS, streams(0, 0x81), errno.EINVAL),
        (Ioctl.CLAIM_PORT, uint(1), errno.EINVAL),
        (Ioctl.RELEASE_PORT, uint(1), errno.EINVAL),
    ],
)
def test_refusals(bench: Bench, request_: int, argument: bytes, real: int) -> None:
    claimed(bench)
    bench.fails(real, request_, argument)


@pytest.mark.parametrize(
    ("kind", "endpoint", "flags"),
    [
        (UrbType.INTERRUPT, 0x81, 0),
        (UrbType.CONTROL, 0, ISO_ASAP),
        (UrbType.BULK, 0x81, ISO_ASAP),
        (7, 0x81, 0),
    ],
)
def test_submissions_that_are_refused(bench: Bench, kind: int, endpoint: int, flags: int) -> None:
    claimed(bench)
    with pytest.raises(OSError) as caught:
        bench.submit(kind, endpoint, struct.pack("<BBHHH", 0xC0, 0x50, 1, 2, 4), length=12, flags=flags)
    assert caught.value.errno == errno.EINVAL


def test_a_length_without_a_buffer(bench: Bench) -> None:
    claimed(bench)
    bench.memory.write(
        URB, struct.pack("<BBxxiI4xQiiiiiIQ", UrbType.BULK, 0x01, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    )
    with pytest.raises(OSError) as caught:
        bench.file.ioctl(Ioctl.SUBMITURB, URB, bench.memory, Waiting())
    assert caught.value.errno == errno.EINVAL


def test_what_is_under_way_ends_with_its_interface_and_with_its_setting(bench: Bench) -> None:
    claimed(bench)
    bench.submit(UrbType.BULK, 0x81, b"", length=64)
    bench.ioctl(Ioctl.SETINTERFACE, struct.pack("<II", 1, 0))
    assert bench.reap()[0] == -errno.ENOENT
    bench.submit(UrbType.BULK, 0x81, b"", length=64)
    bench.ioctl(Ioctl.RELEASEINTERFACE, uint(1))
    assert bench.reap()[0] == -errno.ESHUTDOWN


def test_a_short_control_answer_is_an_error_when_the_client_says_so(bench: Bench) -> None:
    setup = struct.pack("<BBHHH", 0xC0, 0x50, 1, 2, 16)
    bench.submit(UrbType.CONTROL, 0, setup, length=8 + 16, flags=SHORT_NOT_OK)
    status, actual, data = bench.reap()
    assert (status, actual, data[8:12]) == (-errno.EREMOTEIO, 4, b"\x01\0\x02\0")


def test_clear_halt_reaches_the_board_and_resetep_does_not(bench: Bench) -> None:
    claimed(bench)
    bench.ioctl(Ioctl.RESETEP, uint(0x81))
    bench.ioctl(Ioctl.CLEAR_HALT, uint(0x81))
    assert bench.device.controls == [Setup(0x02, 1, 0, 0x81, 0)]


def test_dropped_privileges_leave_the_named_interfaces(bench: Bench) -> None:
    bench.ioctl(Ioctl.IOCTL, driver_request(1, 0x5516))
    bench.ioctl(Ioctl.DROP_PRIVILEGES, uint(0b110))
    bench.fails(errno.EACCES, Ioctl.CLAIMINTERFACE, uint(0))
    bench.ioctl(Ioctl.CLAIMINTERFACE, uint(1))
    bench.ioctl(Ioctl.DROP_PRIVILEGES, uint(0b001))
    bench.fails(errno.EACCES, Ioctl.CLAIMINTERFACE, uint(0))
    bench.fails(errno.EACCES, Ioctl.CLAIMINTERFACE, uint(2))
    bench.ioctl(Ioctl.CLAIMINTERFACE, uint(1))
    bench.fails(errno.EACCES, Ioctl.IOCTL, driver_request(0, 0x5517))
    bench.fails(errno.EACCES, Ioctl.DISCONNECT_CLAIM, disconnect_claim(0, 0, b""))
    bench.fails(errno.EACCES, Ioctl.CLAIM_PORT, uint(1))
    other = bench.open()
    bench.ioctl(Ioctl.CLAIMINTERFACE, uint(2), other)
    bench.fails(errno.EACCES, Ioctl.RESET)
    other.close()
    bench.ioctl(Ioctl.RESET)
    assert bench.ioctl(Ioctl.CONTROL, control(0xC0, 0x50, 1, 2, 64)) == 4


def test_where_a_device_hangs(bench: Bench) -> None:
    hub_way = Way(1, (3, 2))
    file = UsbFile(
        Attachment(bench.device, 9, bench.drivers, bench.attachment.lock, hub_way),
        writable=True,
        on_ready=lambda: None,
    )
    bench.ioctl(conninfo_ex(24), b"\xee" * 32, file)
    assert bench.memory.read(ARG, 25) == struct.pack("<IIIIB7s", 24, 1, 9, 2, 2, b"\x03\x02") + b"\xee"
    bench.ioctl(conninfo_ex(12), b"\xee" * 32, file)
    assert bench.memory.read(ARG, 13) == struct.pack("<III", 24, 1, 9) + b"\xee"


def test_what_hangs_on_a_hub(bench: Bench) -> None:
    hub = RootHub(8, "0000:00:14.0", lambda port: 5 if port == 3 else 0)
    attachment = Attachment(hub, 1, bench.drivers, bench.attachment.lock, Way(1))
    attachment.holders[0] = "hub"
    first, second = (UsbFile(attachment, writable=True, on_ready=lambda: None) for _ in range(2))
    assert bench.ioctl(Ioctl.IOCTL, struct.pack("<iIQ", 0, 0x80805513, DATA), first) == 9
    assert bench.memory.read(DATA, 10) == bytes((8, 0, 0, 5, 0, 0, 0, 0, 0, 0))
    bench.fails(errno.ENOTTY, Ioctl.IOCTL, struct.pack("<iIQ", 2, 0x80805513, DATA))
    bench.ioctl(Ioctl.CLAIM_PORT, uint(8), first)
    bench.fails(errno.EBUSY, Ioctl.CLAIM_PORT, uint(8), second)
    bench.fails(errno.ENOENT, Ioctl.RELEASE_PORT, uint(8), second)
    bench.fails(errno.EINVAL, Ioctl.CLAIM_PORT, uint(9), first)
    first.close()
    bench.ioctl(Ioctl.CLAIM_PORT, uint(8), second)
    bench.ioctl(Ioctl.RELEASE_PORT, uint(8), second)


def test_a_hub_without_power_switching_says_so() -> None:
    hub = RootHub(8, "0000:00:14.0", lambda _port: 0)
    descriptor = hub.control(Setup(0xA0, 6, 0x2900, 0, 64))
    assert int.from_bytes(descriptor[3:5], "little") & 0b11 == 0b10, (
        "USB 2.0, table 11-13: no power switching"
    )
    hub.control(Setup(0x23, 1, 8, 1, 0))
    assert hub.control(Setup(0xA3, 0, 0, 1, 4)) == b"\x00\x01\0\0", "the port keeps its power"


def test_signals_at_the_end_of_a_transfer_and_of_the_device(bench: Bench) -> None:
    claimed(bench)
    bench.ioctl(Ioctl.DISCSIGNAL, struct.pack("<I4xQ", 12, 0xC0FFEE))
    bench.submit(UrbType.BULK, 0x81, b"", length=64, signal=10)
    bench.device.face.send(b"hello")
    assert bench.memory.signals == [(10, 0, URB)]
    bench.attachment.disconnect()
    assert bench.memory.signals[1:] == [(12, errno.EPIPE, 0xC0FFEE)]


def test_a_board_that_never_sleeps_never_resumes(bench: Bench) -> None:
    assert bench.ioctl(Ioctl.WAIT_FOR_RESUME) == 0
    assert bench.ioctl(Ioctl.ALLOW_SUSPEND) == 0
    assert bench.ioctl(Ioctl.FORBID_SUSPEND) == 0
    waiting = Waiting()
    waiting.interrupted = True
    with pytest.raises(OSError) as caught:
        bench.file.ioctl(Ioctl.WAIT_FOR_RESUME, ARG, bench.memory, waiting)
    assert caught.value.errno == errno.EINTR
