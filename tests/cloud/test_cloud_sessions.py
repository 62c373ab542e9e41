"""What happens inside and around a session: blocks, moves, silence, claims, typed events, system requests."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hil.cloud.config import CloudConfig, Timing
from hil.cloud.state.presence import ContactKind, keep_alive_of
from hil.cloud.sync.facade import DeviceCloud
from hil.cloud.sync.logs import Mark
from hil.device.platforms import Transport, by_name
from hil.errors import DeviceTimeout, NotOwner, Refused
from hil.wire import messages
from hil.wire.coap.message import Block, Code, Message, Option, Type, encode
from hil.wire.messages import Kind, VariableType, classify
from hil.wire.messages.description import ApplicationDescribe
from tests.cloud.conftest import MakeBoard, bring_up, config, introduce
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import ScriptedBoard


def post_in_blocks(board: ScriptedBoard, flags: int, payload: bytes, szx: int) -> list[Message]:
    """A blockwise Describe as Device OS 3.3 and later posts it: each block a new message with a new token."""
    size = 1 << (szx + 4)
    count = -(-len(payload) // size)
    replies = []
    for number in range(count):
        part = payload[number * size : (number + 1) * size]
        block = Block(number, number < count - 1, szx)
        message = messages.describe_post(board.next_mid(), board.next_token(), flags, part, block1=block)
        replies.append(board.ask(message))
    return replies


def test_a_long_application_describe_comes_in_blocks(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards("argon"), cloud)
    names = tuple(
        f"function_number_{number:03}_with_a_name_of_sixty_four_characters_ok" for number in range(100)
    )
    variables = {"v": VariableType.INT}
    payload = ApplicationDescribe(names, variables).to_json()
    replies = post_in_blocks(board, 2, payload, 6)
    assert len(replies) == 7  # as Device OS itself does (fact sheet 10)
    assert {(reply.type, reply.code) for reply in replies} == {(Type.ACK, Code.EMPTY)}
    view = cloud.device(board)
    assert view.functions == names
    assert view.variables == variables


def test_blocks_out_of_order_are_refused_and_can_be_started_again(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards("argon"), cloud)
    payload = ApplicationDescribe(("a_function",) * 60, {}).to_json()
    stray = messages.describe_post(
        board.next_mid(), board.next_token(), 2, payload[512:], block1=Block(1, False, 5)
    )
    assert board.ask(stray).code == Code.BAD_REQUEST
    assert cloud.device(board).functions == ("led",)
    assert {reply.code for reply in post_in_blocks(board, 2, payload, 5)} == {Code.EMPTY}
    assert len(cloud.device(board).functions) == 60


def test_a_describe_that_does_not_parse_is_refused_and_changes_nothing(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards("electron"), cloud)
    broken = messages.describe_post(board.next_mid(), board.next_token(), 2, b'{"f":[')
    assert board.ask(broken).code == Code.BAD_REQUEST
    assert cloud.device(board).functions == ("led",)


@pytest.mark.parametrize("name", ["electron", "argon"])
def test_a_device_with_a_connection_id_may_change_its_address(
    name: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """A NAT gave it another port: no mark, no handshake, the next authentic record tells."""
    board = bring_up(boards(name), cloud)
    mark = cloud.mark()
    board.kit = KITS["electron"]  # unmarked records, as after the first answer of any resume
    board.power_off()
    board.power_on()
    cloud.wait_online(board, since=mark)
    assert cloud.contacts(board, since=mark)[0].kind is ContactKind.MOVED
    assert cloud.call(board, "led", "x") == 1


def test_a_resume_that_nothing_gives_away_is_known_by_its_second_updates_event(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards("electron"), cloud)
    mark = cloud.mark()
    board.publish("particle/device/updates/enabled", b"true")
    cloud.wait_online(board, within=5, since=mark)
    assert [contact.kind for contact in cloud.contacts(board, since=mark)] == [ContactKind.RESUME]


def test_silence_of_two_keep_alive_intervals_means_offline(tmp_path: Path) -> None:
    timing = Timing(keep_alive=0.15)
    with DeviceCloud(config(tmp_path, timing=timing)) as cloud:
        for name in ("argon", "photon"):
            board = ScriptedBoard(KITS[name])
            introduce(board, cloud)
            bring_up(board, cloud)
            board.deaf = True
            cloud.wait_offline(board, within=5)
            assert cloud.contacts(board)[-1].detail == "silent for 0.3 s"
            if name == "argon":
                mark = cloud.mark()
                board.publish("t")  # and back by a sign of life
                cloud.wait_online(board, since=mark)
            board.power_off()


@pytest.mark.parametrize(
    ("name", "os_version", "expected"),
    [
        ("photon", "2.3.1", 15),
        ("boron", "2.3.1", 1380),
        ("electron", "3.3.1", 1380),
        ("argon", "6.2.0", 25),
        ("argon", "2.0.1", 30),
        ("argon", None, 25),
    ],
)
def test_keep_alive_by_platform_and_age(name: str, os_version: str | None, expected: float) -> None:
    platform = by_name(name)
    assert keep_alive_of(platform, platform.transport, os_version) == expected
    assert keep_alive_of(None, Transport.DTLS, None) == 1380


def test_never_online_sees_any_sign_of_life(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = boards("argon")
    assert cloud.never_online(board, for_=0.05)
    bring_up(board, cloud)
    assert cloud.never_online(board, for_=0.05)
    sign = threading.Timer(0.05, lambda: board.publish("t", acknowledged=False))
    sign.start()
    assert not cloud.never_online(board, for_=10)
    sign.join()


def test_authentic_garbage_breaks_nothing(cloud: DeviceCloud, boards: MakeBoard) -> None:
    """A device may be mad: whatever CoAP it sends, the cloud answers or drops, and goes on."""
    faults: list[dict[str, Any]] = []

    def catch() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))

    cloud._background.call(catch)
    random = Random(1)
    for name in ("argon", "photon"):
        board = bring_up(boards(name), cloud)
        samples = [
            encode(messages.event(7, "t", b"data", confirmable=True)),
            encode(messages.subscribe(8, "prefix")),
            encode(messages.describe_post(9, b"\x01", 2, b'{"f":["a"],"v":{}}', block1=Block(0, True, 2))),
            encode(messages.goodbye(10, messages.Goodbye(cloud_reason=2), confirmable=False)),
            encode(board.hello()),
        ]
        for _ in range(300):
            data = bytearray(random.choice(samples))
            for _ in range(random.randrange(1, 4)):
                data[random.randrange(len(data))] = random.randrange(256)
            board.send_raw(bytes(data[: random.randrange(1, len(data) + 1)]))
        board.start_anew(mid=0x4000)
        bring_up(board, cloud)
        assert cloud.call(board, "led", "x") == 1
    assert faults == []


def test_a_claim_code_moves_the_device_and_stays_secret(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards("argon"), cloud)
    cloud.create_user("ann", "secret")
    ann = cloud.core.users.authenticate("ann", "secret")
    assert ann is not None
    code = cloud.core.devices.claim_code(ann)
    assert len(code) == 63
    board.publish("spark/device/claim/code", code.encode())
    assert board.wait_event("spark/device/claim/success")
    assert cloud.device(board).owner == "ann"
    assert not any(code in event.data for event in cloud.events.all())
    board.publish("spark/device/claim/code", code.encode())
    assert cloud.device(board).owner == "ann"
    with pytest.raises(NotOwner):
        cloud.core.devices.find(cloud.core.users.ensure("hil"), board.device_id)


def test_structured_events_change_their_number_on_the_way(cloud: DeviceCloud, boards: MakeBoard) -> None:
    """Fact sheet 8.6: 65001 from the device, 60 to a device that subscribed with ``c``, to nobody else."""
    board = bring_up(boards("argon"), cloud)
    plain = bring_up(boards("argon", "e00fce68000000000000000b"), cloud)
    board.ask(messages.subscribe(board.next_mid(), "sensor", query=b"c"))
    plain.ask(messages.subscribe(plain.next_mid(), "sensor", query=None))
    position = len(plain.inbox)
    cbor = bytes.fromhex("a16174182a")
    message = messages.event(board.next_mid(), "sensor/a", cbor, confirmable=True, content_format=65001)
    board.ask(message)
    got = board.wait_event("sensor/a")
    assert (got.content_format, got.data) == (60, cbor)
    assert cloud.events.expect("sensor/a").data == '{"t":42}'
    board.publish("sensor/b", b"text")
    plain.wait_event("sensor/b")
    names = [
        messages.parse_event(one).name for one in plain.inbox.since(position) if classify(one) is Kind.EVENT
    ]
    assert names == ["sensor/b"]


def test_an_event_too_long_for_the_subscriber_is_not_sent(cloud: DeviceCloud, boards: MakeBoard) -> None:
    """A Photon that gets more than its buffer holds drops the connection (fact sheet 1.3)."""
    photon, argon = boards("photon"), boards("argon")
    for board in (photon, argon):
        board.prefixes.append("big")
        bring_up(board, cloud)
    cloud.publish("big/one", "x" * 1000)
    argon.wait_event("big/one")
    cloud.publish("big/end", "x" * 622)
    assert len(photon.wait_event("big/end").data) == 622
    assert any("big/one not delivered" in line for line in cloud.device_log(photon))
    assert cloud.operations.spent() == {"subscribe": 3}


def test_a_request_the_cloud_does_not_serve_gets_4_04_and_never_a_reset(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards("argon"), cloud)
    ledger = Message(Type.CON, Code.POST, board.next_mid(), b"\x09", ((Option.URI_PATH, b"L"),), b"\x08\x01")
    reply = board.ask(ledger)
    assert (reply.type, reply.code, reply.token) == (Type.ACK, Code.NOT_FOUND, b"\x09")
    assert cloud.online(board)


def test_safe_mode_is_reported_with_the_modules(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards("boron"), cloud)
    board.publish("spark/device/safemode")
    report = cloud.events.expect("spark/status/safe-mode", source=board)
    assert '"p":13' in report.data


def test_the_cloud_publishes_only_what_a_device_survives(cloud: DeviceCloud) -> None:
    for name, data in (("", ""), ("x" * 65, ""), ("t", "x" * 1025), ("spark/device/key/restore", "")):
        with pytest.raises(Refused):
            cloud.publish(name, data)


def test_an_expectation_that_fails_says_what_was_seen(cloud: DeviceCloud) -> None:
    cloud.publish("garden/valve", "open")
    with pytest.raises(
        AssertionError, match=r"no event garden/door[\s\S]*garden/valve = 'open' from the API"
    ):
        cloud.events.expect("garden/door", within=0)
    with pytest.raises(AssertionError, match="with data 'shut'"):
        cloud.events.expect("garden/valve", data="shut", within=0)
    later = cloud.events.mark()
    with pytest.raises(AssertionError, match="no event at all"):
        cloud.events.expect("garden/valve", within=0, since=later)
    assert cloud.events.absent("garden/valve", within=0, since=later)
    assert not cloud.events.absent("garden/valve", within=0)


def test_a_device_that_has_not_described_itself_is_waited_for(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path, timing=Timing(describe=0.1))) as cloud:
        board = ScriptedBoard(KITS["argon"])
        board._introduce = lambda: None  # type: ignore[method-assign]
        introduce(board, cloud)
        mark = cloud.mark()
        board.power_on()
        cloud.wait_online(board, since=mark)
        with pytest.raises(DeviceTimeout, match="has not described its application"):
            cloud.call(board, "led")
        board.power_off()


def test_a_handshake_left_half_way_is_dropped_and_said(tmp_path: Path) -> None:
    import socket

    with DeviceCloud(config(tmp_path, timing=Timing(handshake=0.1, first_message=0.1))) as cloud:
        journal = cloud.core.services.log.journal
        with socket.create_connection(("127.0.0.1", cloud.tcp_port)) as sock:
            while sock.recv(100):
                pass
        assert journal.wait(lambda line: "no handshake within 0.1 s" in line.line, within=5)
        board = ScriptedBoard(KITS["argon"])
        board._greet = lambda: None  # type: ignore[method-assign]
        introduce(board, cloud)
        board.power_on()
        assert journal.wait(lambda line: "no Hello in time" in line.line, within=5)
        board.power_off()


def test_http_is_there_when_asked_for(tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    settings = CloudConfig(state_dir=tmp_path, tcp_port=0, udp_port=0)
    with DeviceCloud(settings) as cloud:
        request = urllib.request.Request(
            f"{cloud.url}/v1/devices", headers={"Authorization": f"Bearer {cloud.token()}"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == b"[]"


@pytest.mark.parametrize("name", ["argon", "photon"])
def test_a_key_taken_off_the_file_ends_the_session_made_with_it(
    name: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards(name), cloud)
    other = ScriptedBoard(board.kit)
    mark = cloud.mark()
    cloud.register(board.device_id, platform_id=board.kit.platform.id, public_key=other.public_key)
    assert not cloud.online(board)
    board.power_off()
    board.power_on()
    journal = cloud.core.services.log.journal
    assert journal.wait(lambda line: "turned away" in line.line, position=mark.lines, within=10)
    assert not any(contact.is_arrival for contact in cloud.contacts(board, since=mark))


def test_disconnecting_an_offline_device_takes_its_session(cloud: DeviceCloud, boards: MakeBoard) -> None:
    board = bring_up(boards("boron"), cloud)
    board.goodbye()
    cloud.wait_offline(board)
    cloud.disconnect(board)
    cloud.disconnect(board)
    board.power_off()
    mark = cloud.mark()
    board.power_on()  # it was told and erased its session, or resumes one that the cloud no longer knows
    if board.session is None:
        cloud.wait_online(board, since=mark)
        assert cloud.contacts(board, since=mark)[0].kind is ContactKind.HELLO
    else:
        assert cloud.never_online(board, for_=0.3)


@pytest.mark.parametrize("name", ["photon", "argon"])
def test_a_board_that_knows_when_it_left_is_not_online_in_the_session_from_before(
    name: str, cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """Everything is silent after the restart, and the cloud has not noticed yet."""
    board = bring_up(boards(name), cloud)
    restarted = _Restarted(board.device_id, cloud.mark())
    cloud.wait_online(board, within=5)
    with pytest.raises(AssertionError, match="is still in the session that it had before"):
        cloud.wait_online(restarted, within=0.1)
    board.power_off()
    board.power_on()
    cloud.wait_online(restarted, within=10)


def test_a_board_that_left_in_an_earlier_life_of_the_cloud_may_be_online(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    board = bring_up(boards("argon"), cloud)
    earlier = dataclasses.replace(cloud.mark(), contacts=10_000)
    cloud.wait_online(_Restarted(board.device_id, earlier), within=5)


@dataclasses.dataclass(frozen=True)
class _Restarted:
    """A board of the rig, as the cloud sees it."""

    device_id: str
    left_at: Mark
