"""Control requests against the state machine of USB fact sheet 4.1 to 4.3, and its vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.device.modules import ModuleFunction
from hil.device.protobuf import Writer
from hil.device.results import result_name
from hil.errors import WireError
from hil.usb import requests
from hil.usb.control import ControlChannel, Record, RequestTimeout, Status, parse_record
from hil.usb.requests import InstalledModule, RequestRefused
from hil.usb.transport import TransferError
from tests.usb.usb_fakes import FakeUsbTransport, argon


def echo(request_id: int, payload: bytes) -> tuple[int, bytes]:
    assert request_id == 1
    return 0, payload


def channel(transport: FakeUsbTransport) -> ControlChannel:
    return ControlChannel(argon(), transport, sleep=lambda _: None)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("0300000000000100", Record(Status.OK, handle=1)),
        ("010000000300", Record(Status.BUSY)),
        ("010000000200", Record(Status.PENDING)),
        ("0d00000000001a00000000000000", Record(Status.OK, size=26, result=0)),
        ("09000000000088ffffff", Record(Status.OK, result=-120)),
    ],
)
def test_reply_records_of_the_fact_sheet(record: str, expected: Record) -> None:
    assert parse_record(bytes.fromhex(record)) == expected


@given(st.binary(max_size=24))
def test_any_bytes_are_a_record_or_a_wire_error(data: bytes) -> None:
    try:
        record = parse_record(data)
    except WireError:
        return
    assert int.from_bytes(data[4:6], "little") == record.status


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


def test_an_unknown_result_is_shown_as_its_number() -> None:
    assert result_name(-1234) == "-1234"
    assert result_name(-1801) == "device protected (-1801)"


def test_raw_version_ends_at_the_first_nul() -> None:
    usb = FakeUsbTransport(echo, raw={30: b"0.6.4\0junk"})
    assert channel(usb).raw_in(30) == b"0.6.4"
    assert usb.calls == [(0x50, 0, 30, 64)]


def test_a_forced_reset_always_looks_like_an_error_and_is_none() -> None:
    control = channel(FakeUsbTransport(echo))
    control.raw_out(40)
    with pytest.raises(TransferError):
        control.raw_out(302)


def test_a_key_is_cut_out_of_the_field_that_the_board_sends() -> None:
    der = bytes.fromhex("30030201ff")

    def board(request_id: int, payload: bytes) -> tuple[int, bytes]:
        assert (request_id, payload) == (211, b"\x08\x06")
        return 0, Writer().data(1, der.ljust(192, b"\xff")).finish()

    assert requests.get_key(channel(FakeUsbTransport(board)), requests.KeyType.UDP_SERVER_PUBLIC) == der
    empty = FakeUsbTransport(lambda *_: (0, Writer().data(1, b"\xff" * 192).finish()))
    with pytest.raises(WireError):
        requests.get_key(channel(empty), requests.KeyType.UDP_SERVER_PUBLIC)


def test_payload_vectors_of_the_fact_sheet() -> None:
    assert requests.encode_begin_update(11972).hex() == "08c45d"
    assert requests.encode_server(2, "hil.local", 5684).hex() == "080212096869" + "6c2e6c6f63616c" + "18b42c"


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


def test_an_update_goes_in_the_board_s_chunks_and_is_finished() -> None:
    seen: list[tuple[int, int]] = []

    def board(request_id: int, payload: bytes) -> tuple[int, bytes]:
        seen.append((request_id, len(payload)))
        return 0, b"\x08\x80\x08" if request_id == 250 else b""

    steps: list[tuple[int, int]] = []
    requests.update(
        channel(FakeUsbTransport(board)), bytes(2500), lambda done, total: steps.append((done, total))
    )
    assert [request for request, _ in seen] == [250, 253, 253, 253, 251]
    assert steps == [(1024, 2500), (2048, 2500), (2500, 2500)]


def test_a_refused_update_is_cancelled() -> None:
    seen: list[int] = []

    def board(request_id: int, payload: bytes) -> tuple[int, bytes]:
        del payload
        seen.append(request_id)
        return (-280, b"") if request_id == 251 else (0, b"")

    with pytest.raises(RequestRefused, match="bad data"):
        requests.update(channel(FakeUsbTransport(board)), bytes(100))
    assert seen == [250, 253, 251, 252]
