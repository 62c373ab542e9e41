"""Control requests against the state machine of USB fact sheet 4.1 to 4.3, and its vectors."""

from __future__ import annotations

import pytest

from hil.device.modules import ModuleFunction
from hil.usb import requests
from hil.usb.control import ControlChannel, RequestTimeout
from hil.usb.requests import InstalledModule, RequestRefused
from hil.usb.transport import TransferError
from tests.usb.usb_fakes import FakeUsbTransport, argon


def echo(request_id: int, payload: bytes) -> tuple[int, bytes]:
    assert request_id == 1
    return 0, payload


def channel(transport: FakeUsbTransport) -> ControlChannel:
    return ControlChannel(argon(), transport, sleep=lambda _: None)


@pytest.mark.parametrize("size", [0, 1, 64, 65, 4096, 4097, 65535])
def test_payload_and_reply_of_any_size_go_through(size: int) -> None:
    payload = bytes(range(256)) * 256
    with channel(FakeUsbTransport(echo)) as control:
        assert control.request(1, payload[:size]).data == payload[:size]


def test_a_small_request_makes_exactly_the_transfers_of_the_fact_sheet() -> None:
    usb = FakeUsbTransport(echo)
    channel(usb).request(1, b"hello")
    assert usb.calls == [
        (5, 0, 0, 64),  # RESET(0): what a session before this one left behind
        (1, 5, 1, 64),  # INIT: size 5, request 1
        (3, 0, 1, b"hello"),  # SEND
        (2, 0, 1, 64),  # CHECK
        (4, 0, 1, 5),  # RECV: exactly the announced size
    ]


def test_leftovers_are_dropped_once_a_session() -> None:
    usb = FakeUsbTransport(echo)
    control = channel(usb)
    control.request(1)
    control.request(1)
    assert [call[0] for call in usb.calls].count(5) == 1


def test_a_large_payload_waits_for_its_buffer_and_is_sent_in_chunks_of_a_page() -> None:
    usb = FakeUsbTransport(echo)
    channel(usb).request(1, bytes(9000))
    sizes = [len(data) for service, _, _, data in usb.calls if service == 3 and isinstance(data, bytes)]
    assert sizes == [4096, 4096, 808]
    assert [call[0] for call in usb.calls[1:4]] == [1, 2, 3]  # INIT pending, CHECK, then the first SEND


def test_a_busy_board_is_asked_again() -> None:
    usb = FakeUsbTransport(echo, busy=3, pending=4)
    assert channel(usb).request(1, b"x").data == b"x"
    assert [call[0] for call in usb.calls].count(1) == 4


def test_a_request_that_never_ends_is_taken_back() -> None:
    usb = FakeUsbTransport(echo, never=True)
    with pytest.raises(RequestTimeout, match=r"control request 1 .* not answered in time"):
        channel(usb).request(1, b"x", timeout=0.05)
    assert usb.calls[-1][0] == 5
    assert usb.calls[-1][2] == 1
    assert usb.requests == {}


def test_a_request_that_another_program_dropped_says_so() -> None:
    usb = FakeUsbTransport(echo, pending=5)
    control = ControlChannel(argon(), usb, sleep=lambda _: usb.requests.clear())
    with pytest.raises(TransferError, match="another program talks to this board"):
        control.request(1, b"x")


def test_a_negative_result_is_a_reply_and_a_typed_helper_refuses_it_by_name() -> None:
    usb = FakeUsbTransport(lambda _id, _payload: (-120, b""))
    assert channel(usb).request(10).result == -120
    with pytest.raises(RequestRefused, match=r"not supported \(-120\)"):
        requests.device_id(channel(usb))


def test_a_forced_reset_always_looks_like_an_error_and_is_none() -> None:
    control = channel(FakeUsbTransport(echo))
    control.raw_out(40)
    with pytest.raises(TransferError):
        control.raw_out(302)


def test_old_and_new_module_info_read_alike() -> None:
    old = bytes.fromhex("0a08" + "0803" + "1001" + "1806" + "2060")  # user part 1, version 6, 96 bytes, valid
    assert requests.parse_modules(old) == (InstalledModule(ModuleFunction.USER_PART, 1, 6, 96, True),)
    digest = bytes(range(32))
    body = (
        bytes.fromhex("0805" + "1002" + "1806" + "351e000000" + "3d1e000000")
        + b"\x42\x20"
        + digest
        + b"\x58\x64"
    )
    new = b"\x12" + bytes([len(body)]) + body
    expected = InstalledModule(ModuleFunction.USER_PART, 2, 6, 100, True, digest)
    assert requests.parse_modules(new) == (expected,)


def test_an_invalid_module_is_told_apart_in_both_forms() -> None:
    old = bytes.fromhex("0a08" + "0803" + "1001" + "1806" + "2802")
    new = bytes.fromhex("120e" + "0805" + "1002" + "351e000000" + "3d1a000000")
    assert not requests.parse_modules(old)[0].valid
    assert not requests.parse_modules(new)[0].valid
