"""Each of the four boards of protocol fact sheet 11: connect, be known, talk, update, resume."""

from __future__ import annotations

import pytest

from hil.cloud.state.presence import ContactKind
from hil.cloud.sync.facade import DeviceCloud
from hil.device import modules
from hil.device.modules import ModuleFunction
from hil.errors import DeviceOffline, DeviceTimeout, NotFound, Refused, WrongPlatform
from hil.wire.coap.message import Code, Option, Type
from hil.wire.messages import DescribeFlag, Kind, VariableType, classify, parse_describe_request, time_request
from hil.wire.messages.hello import HelloFlag
from tests.cloud.conftest import MakeBoard, bring_up, hasty
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

ALL = tuple(KITS)
UDP = ("boron", "electron", "argon")


def firmware(board: ScriptedBoard, payload: bytes = b"new" * 3000) -> bytes:
    part = board.kit.platform.user_part
    return modules.build(board.kit.platform.id, ModuleFunction.USER_PART, part.index, 6, part.start, payload)


@pytest.mark.parametrize("name", ALL)
def test_hello_tells_the_cloud_what_section_11_says(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards(name), cloud)
    view = cloud.device(board)
    assert view.online
    assert view.platform_id == view.product_id == board.kit.platform.id
    assert view.firmware_version is None  # 0xFFFF on the wire
    assert (
        view.os_version == {"photon": "2.3.1", "boron": "2.3.1", "electron": "3.3.1", "argon": "6.2.0"}[name]
    )
    assert view.last_ip == "127.0.0.1"
    assert cloud.events.expect("spark/status", source=board).data == "online"
    assert view.functions == ("led",)
    assert view.variables == {"temp": VariableType.DOUBLE}
    assert view.system is not None
    assert view.system.modules[1].sha256 == bytes(32)


@pytest.mark.parametrize("name", ALL)
def test_nothing_but_the_answer_to_the_hello_comes_first(
    name: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards(name), cloud)
    first = board.inbox.since()[0]
    if board.uses_tcp:
        assert (first.type, first.code, first.path) == (Type.NON, Code.POST, ("h",))
    else:
        assert (first.type, first.code, first.mid) == (Type.ACK, Code.EMPTY, 1)


@pytest.mark.parametrize("name", ALL)
def test_function_variable_event_signal_ping(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards(name), cloud)
    assert cloud.call(board, "led", "on") == 2
    assert cloud.read(board, "temp") == 21.5
    board.publish("garden/temperature", b"21.5")
    event = cloud.events.expect("garden/temperature", source=board)
    assert (event.data, event.private, event.ttl) == ("21.5", True, 60)
    cloud.signal(board, True)
    assert cloud.ping(board)
    assert cloud.operations.spent() == {"function": 1, "variable": 1, "publish": 1}


@pytest.mark.parametrize("name", ALL)
def test_requests_carry_a_token_of_one_byte_and_only_the_time_is_2_05(
    name: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards(name), cloud)
    cloud.call(board, "led", "")
    cloud.read(board, "temp")
    cloud.signal(board, False)
    request = time_request(board.next_mid(), b"\x07")
    reply = board.ask(request)
    assert (reply.code, reply.token, len(reply.payload)) == (Code.CONTENT, b"\x07", 4)
    received = board.inbox.since()
    asked = [one for one in received if classify(one) in (Kind.FUNCTION, Kind.VARIABLE, Kind.SIGNAL)]
    assert [len(one.token) for one in asked] == [1, 1, 1]
    assert asked[0].option(Option.URI_QUERY) == b""
    assert [one for one in received if one.code == Code.CONTENT] == [reply]
    assert not [one for one in received if one.type is Type.RST]


@pytest.mark.parametrize("name", ALL)
def test_a_subscribed_board_gets_events_of_its_owner(
    name: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = boards(name)
    board.prefixes.append("garden/")
    bring_up(board, cloud)
    cloud.publish("garden/valve", "open")
    assert board.wait_event("garden/valve").data == b"open"
    cloud.publish("house/door", "open")
    cloud.publish("garden/end")
    board.wait_event("garden/end")
    events = [one for one in board.inbox.since() if classify(one) is Kind.EVENT]
    assert len(events) == 2
    assert {one.type for one in events} == {Type.NON if board.uses_tcp else Type.CON}


@pytest.mark.parametrize("name", ALL)
def test_update_over_the_air(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards(name), cloud)
    file = firmware(board)
    mark = cloud.mark()
    report = cloud.flash(board, file, within=20)
    assert report.reason == ""
    assert report.ok
    assert report.transferred == report.size == len(file)
    view = cloud.device(board)
    assert view.system is not None
    assert view.system.modules[1].sha256 == modules.parse(file).sha256
    assert view.hello is not None
    assert HelloFlag.OTA_SUCCEEDED in view.hello.flags
    statuses = [event.data for event in cloud.events.all("spark/flash/status", since=mark)]
    assert statuses == ["started ", "success "]
    app_hash = cloud.events.expect("spark/device/app-hash", source=board, since=mark)
    assert app_hash.data == modules.parse(file).sha256.hex().upper()
    assert cloud.operations.spent() == {}
    # The cloud's own Hello clears the board's flag.
    assert board.inbox.wait(lambda one: classify(one) is Kind.HELLO, within=PATIENCE)


@pytest.mark.parametrize("name", ALL)
def test_an_update_that_the_device_refuses(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards(name), cloud)
    board.verdict = -1330  # integrity check failed
    report = cloud.flash(board, b"not a module" * 100, within=20, unchecked=True)
    assert not report.ok
    assert "refused" in report.reason or "1330" in report.reason
    statuses = [event.data for event in cloud.events.all("spark/flash/status")]
    assert statuses == ["started ", "failed "]
    assert board.reboots == 0
    assert cloud.call(board, "led", "still here") == 10


@pytest.mark.parametrize("name", UDP)
def test_resume_without_handshake_or_hello(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = boards(name)
    board.prefixes.append("garden/")
    bring_up(board, cloud)
    board.power_off()
    session = board.session
    mark = cloud.mark()
    bring_up(board, cloud)
    assert board.session is session
    kinds = [contact.kind for contact in cloud.contacts(board, since=mark)]
    assert kinds
    assert ContactKind.HELLO not in kinds
    assert cloud.call(board, "led", "on") == 2
    cloud.publish("garden/valve", "shut")
    assert board.wait_event("garden/valve").data == b"shut"


def test_a_photon_connects_anew_after_every_break(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards("photon"), cloud)
    board.power_off()
    cloud.wait_offline(board)
    with pytest.raises(DeviceOffline):
        cloud.call(board, "led")
    mark = cloud.mark()
    bring_up(board, cloud)
    assert [contact.kind for contact in cloud.contacts(board, since=mark)] == [ContactKind.HELLO]


@pytest.mark.parametrize("name", ALL)
def test_goodbye_is_offline_at_once(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards(name), cloud)
    board.goodbye()
    cloud.wait_offline(board)
    assert cloud.events.expect("spark/status", data="offline", source=board)
    assert "goodbye, it resets, reset by its application" in cloud.contacts(board)[-1].detail


@pytest.mark.parametrize("name", ["boron", "photon"])
def test_a_board_that_does_not_describe_itself_is_asked_part_by_part(
    name: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = boards(name)
    board.flag_removed = HelloFlag.DEVICE_DESCRIBES
    board.describe_block = 1  # blocks of 32 bytes
    bring_up(board, cloud)
    assert cloud.call(board, "led", "abc") == 3
    asked = [parse_describe_request(one) for one in board.inbox.since() if classify(one) is Kind.DESCRIBE]
    assert set(asked) == {DescribeFlag.SYSTEM, DescribeFlag.APPLICATION}
    assert len(asked) > 2
    system = cloud.device(board).system
    assert system is not None
    assert len(system.modules) == 2


@pytest.mark.parametrize("name", ALL)
def test_an_impostor_with_another_key_is_refused(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = boards(name)
    impostor = ScriptedBoard(board.kit)
    impostor.dial(
        "127.0.0.1",
        cloud.tcp_port,
        cloud.udp_port,
        cloud.server_keys.rsa_public_der,
        cloud.server_keys.ec_public_der,
    )
    impostor.power_on()
    journal = cloud.core.services.log.journal
    try:
        assert journal.wait(lambda line: "turned away" in line.line, within=PATIENCE)
        assert not cloud.online(board)
        assert cloud.contacts(board) == []
    finally:
        impostor.power_off()


def test_a_registered_key_cannot_speak_for_another_device(cloud: DeviceCloud, boards: MakeBoard) -> None:
    victim, thief = boards("argon"), boards("argon", "e00fce68ffffffffffffffff")
    thief.device_id = victim.device_id
    thief.power_on()
    journal = cloud.core.services.log.journal
    assert journal.wait(lambda line: "Hello refused" in line.line, within=PATIENCE)
    assert not cloud.online(victim)


def test_an_unknown_function_an_absent_variable_and_a_long_argument(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards("boron"), cloud)
    with pytest.raises(NotFound, match="Function dance not found"):
        cloud.call(board, "dance")
    with pytest.raises(NotFound, match="Variable not found"):
        cloud.read(board, "mood")
    with pytest.raises(Refused, match="at most 622 bytes"):
        cloud.call(board, "led", "x" * 623)
    assert cloud.call(board, "led", "x" * 622) == 622
    assert cloud.operations.spent() == {"function": 1}


def test_a_function_that_never_answers_times_out_and_its_late_answer_is_harmless(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards("argon"), cloud)
    board.silent_functions.add("led")
    with pytest.raises(DeviceTimeout, match="took the request and did not answer"):
        cloud.call(board, "led", timeout=0.2)
    assert cloud.online(board)
    assert cloud.operations.spent() == {"function": 1}
    board.silent_functions.clear()
    assert cloud.call(board, "led", "ok") == 2


@hasty
def test_a_call_during_an_update_is_refused_with_a_reason(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards("argon"), cloud)
    board.deaf = True
    cloud.start_flash(board, firmware(board))
    with pytest.raises(Refused, match="being updated"):
        cloud.call(board, "led")
    with pytest.raises(Refused, match="being updated already"):
        cloud.start_flash(board, firmware(board))
    cloud.events.expect("spark/flash/status", data="failed ", source=board, within=PATIENCE)
    assert not cloud.online(board)
    assert cloud.operations.spent() == {}


def test_what_is_no_firmware_for_the_board_is_refused(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board, other = bring_up(boards("argon"), cloud), boards("boron")
    with pytest.raises(Refused, match="not a firmware module"):
        cloud.flash(board, b"no firmware at all" * 20)
    with pytest.raises(WrongPlatform):
        cloud.flash(board, firmware(other))
    with pytest.raises(DeviceOffline):
        cloud.flash(other, firmware(other))


def test_disconnect_makes_the_device_forget_its_session(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards("argon"), cloud)
    session = board.session
    cloud.disconnect(board)
    assert not cloud.online(board)
    board.inbox.wait_until(lambda: board.session is None, within=0.5)
    board.power_off()
    assert board.session is None
    mark = cloud.mark()
    bring_up(board, cloud)
    assert board.session is not session
    assert cloud.contacts(board, since=mark)[0].kind is ContactKind.HELLO
