"""Devices that are not the four of the rack: strangers, other releases, Device OS built for Linux, broken handshakes.

Facts: protocol fact sheet 1.3, 2.4, 2.5, 3.4, 3.5, 6 and 10.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from pathlib import Path

import pytest

from hil.cloud.config import Timing
from hil.cloud.session.channel import Channel
from hil.cloud.session.identity import fingerprint
from hil.cloud.session.outbound import data_limit, message_limit
from hil.cloud.state.presence import ContactKind
from hil.cloud.sync.facade import DeviceCloud
from hil.device import modules
from hil.device.platforms import Transport
from hil.wire import messages
from hil.wire.coap.message import Code, Message, Type, encode, ping
from hil.wire.messages import Kind, classify
from tests.cloud.conftest import MakeBoard, bring_up, config, dial, introduce
from tests.cloud.kits import KITS
from tests.cloud.raw_device import RawDevice
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

RESUMED_2_3_1 = bytes.fromhex(
    "fefefd000100000000000200140001000000000002bf61410566439c6a8b7209a2e00fce68aabbccddeeff00110c"
)
RESUMED_6_2_0 = bytes.fromhex(
    "fdfefd0001000000000002c1d001020304050600200001000000000002bf6141052696f16cfe8bfe2b38da2aad4f8b0623bb4c80b6"
)


def kit_board(name: str, **changes: str) -> ScriptedBoard:
    """A board of ``name`` with parts of its Hello (hex) replaced: ``old`` by ``new``."""
    kit = KITS[name]
    assert changes["old"] in kit.hello
    return ScriptedBoard(dataclasses.replace(kit, hello=kit.hello.replace(changes["old"], changes["new"])))


def logged(cloud: DeviceCloud, text: str) -> str:
    found = cloud.core.services.log.journal.wait(lambda line: text in str(line), within=PATIENCE)
    assert found is not None, f"{text!r} was not logged"
    return str(found)


def test_a_device_may_start_anew_from_the_same_address_at_any_point(cloud: DeviceCloud) -> None:
    board = ScriptedBoard(KITS["argon"])
    introduce(board, cloud)
    device = RawDevice(cloud, board)
    device.begin()  # and reset before the answer is read
    half_way = device.begin()
    device.take(half_way)  # the cookie meant for the first try
    for _ in range(2):
        device.socket.recv(2048)  # a new socket would not get what is meant for an old one
    without_hello = device.begin()
    device.finish(without_hello)  # and reset before the Hello
    for _ in range(2):
        mark = cloud.mark()
        client = device.begin()
        device.finish(client)
        device.hello(client)
        cloud.wait_online(board, since=mark)
    device.socket.close()
    kinds = [contact.kind for contact in cloud.contacts(board)]
    assert kinds == [ContactKind.HELLO, ContactKind.HELLO]


def test_a_handshake_outlives_a_restart_of_the_cloud(tmp_path: Path) -> None:
    board = ScriptedBoard(KITS["argon"])
    with DeviceCloud(config(tmp_path)) as cloud:
        introduce(board, cloud)
        device = RawDevice(cloud, board)
        client = device.begin()
        client.receive(device.socket.recv(2048), 0.0)  # the cookie is there, its answer not yet sent
    settings = dataclasses.replace(config(tmp_path), udp_port=device.socket.getpeername()[1])
    with DeviceCloud(settings) as cloud:
        device.flush(client)
        device.finish(client)
        device.hello(client)
        cloud.wait_online(board)
        device.socket.close()


def test_a_udp_handshake_is_waited_for_longer_than_a_device_repeats_it() -> None:
    assert Timing().dtls_handshake >= 3 * 45


@pytest.mark.parametrize(
    ("datagram", "said"),
    [
        (RESUMED_2_3_1, "(says it is e00fce68aabbccddeeff0011)"),
        (RESUMED_6_2_0, "does not have; its attempts"),
    ],
)
def test_a_session_of_another_cloud_is_not_answered_and_said_once(
    datagram: bytes, said: str, cloud: DeviceCloud
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.connect(("127.0.0.1", cloud.udp_port))
        device.send(datagram)
        device.send(datagram)
        line = logged(cloud, "goes on with a session that this cloud does not have")
        assert "{}:{}".format(*device.getsockname()) in line
        assert said in line
        client = RawDevice(cloud, ScriptedBoard(KITS["argon"]))
        client.take(client.begin())  # both datagrams are through
        client.socket.close()
        device.setblocking(False)
        with pytest.raises(BlockingIOError):
            device.recv(1)
    lines = [str(one) for one in cloud.core.services.log.journal.since()]
    assert sum("goes on with a session" in line for line in lines) == 1


@pytest.mark.parametrize("name", ["photon", "argon"])
def test_a_stranger_is_refused_with_what_it_takes_to_register_it(name: str, cloud: DeviceCloud) -> None:
    board = ScriptedBoard(KITS[name])
    dial(board, cloud)
    board.power_on()
    line = logged(cloud, "turned away: ")
    board.power_off()
    assert "127.0.0.1" in line
    assert f"(it shows {fingerprint(board.public_key)})" in line
    if name == "photon":
        assert f"{board.device_id} 127.0.0.1 turned away: the device is not registered" in line
    else:
        assert "no device has this dtls key on file" in line


def test_device_os_built_for_linux_is_the_board_it_is_registered_as(cloud: DeviceCloud) -> None:
    """It says platform 3 over TCP whatever it was told (fact sheet 10)."""
    board = kit_board("photon", old="360006", new="360003")
    cloud.register(board.device_id, platform_id=12, public_key=board.public_key)
    dial(board, cloud)
    bring_up(board, cloud)
    view = cloud.device(board)
    board.power_off()
    assert view.hello is not None
    assert (view.platform_id, view.hello.platform_id) == (12, 3)
    assert view.hello.device_id is None
    logged(cloud, "registered as platform 12, its Hello says 3: taken as 12")


def test_another_platform_than_registered_is_taken_from_the_hello_and_said(cloud: DeviceCloud) -> None:
    board = ScriptedBoard(KITS["argon"])
    cloud.register(board.device_id, platform_id=13, public_key=board.public_key)
    dial(board, cloud)
    bring_up(board, cloud)
    board.power_off()
    assert cloud.device(board).platform_id == 12
    logged(cloud, "registered as platform 13, its Hello says 12: taken as 12")


@pytest.mark.parametrize(
    ("name", "old", "new", "data", "message"),
    [
        ("photon", "ff", "ff", 622, 767),  # (800 - 18) in whole blocks, less the byte of padding
        ("boron", "ff", "ff", 622, 800),
        ("electron", "ff", "ff", 864, 960),
        ("argon", "ff", "ff", 1024, 1152),
        ("argon", "11183804800017", "1117d404800017", 1024, 1152),  # 6.1.0 is in no table
        ("argon", "00f6000c", "00f60020", 1024, 1152),  # a P2 neither
        ("argon", "18380480", "183803c0", 1024, 960),  # a Boron behind a small MTU
        ("argon", "00f6", "fff6", 1024, 1152),  # flags nobody knows yet
        # Device OS 6.2.0 built for Linux over TCP, registered as a Photon: 27 bytes, empty device id.
        ("photon", "00360006", "00f60003000018380480001770000200", 1024, 1119),
    ],
)
def test_what_a_device_can_take(
    name: str, old: str, new: str, data: int, message: int, cloud: DeviceCloud
) -> None:
    board = kit_board(name, old=old, new=new)
    introduce(board, cloud)
    bring_up(board, cloud)
    session = cloud.core.sessions.reach(board)
    assert (data_limit(session), message_limit(session)) == (data, message)
    board.power_off()


def test_an_event_that_fits_by_its_data_alone_is_not_sent(cloud: DeviceCloud) -> None:
    board = kit_board("argon", old="18380480", new="183803c0")
    board.prefixes.append("big")
    introduce(board, cloud)
    bring_up(board, cloud)
    cloud.publish("big/one", "x" * 1000)
    cloud.publish("big/end", "x" * 900)
    assert len(board.wait_event("big/end").data) == 900
    board.power_off()
    assert any("event big/one is too long for the device" in line for line in cloud.device_log(board))
    assert cloud.operations.spent() == {"subscribe": 1}


def test_content_format_is_an_option_that_old_devices_must_not_get(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """Before 6.2 a device looks for the data right behind name and Max-Age."""
    argon, boron = boards("argon"), boards("boron")
    for board in (argon, boron):
        board.prefixes.append("typed")
        bring_up(board, cloud)
    for name, content_format in (("typed/image", 22), ("typed/new", 11050), ("typed/json", 50)):
        message = messages.event(
            argon.next_mid(), name, b"{}", confirmable=True, content_format=content_format
        )
        argon.ask(message)
    assert argon.wait_event("typed/json").content_format == 50
    assert boron.wait_event("typed/json").content_format is None
    for board in (argon, boron):
        got = [messages.parse_event(one).name for one in board.inbox.since() if classify(one) is Kind.EVENT]
        assert [name for name in got if name.startswith("typed")] == ["typed/json"]


def test_after_the_acknowledgement_a_udp_device_gets_the_clouds_own_hello(
    cloud: DeviceCloud, boards: MakeBoard
) -> None:
    """Fact sheet 7: it clears the device's OTA flag, which would be repeated else."""
    board = bring_up(boards("argon"), cloud)
    second = board.inbox.wait(lambda _message: True, position=1, within=PATIENCE)
    assert second is not None
    first = board.inbox.since()[0]
    assert encode(first).hex() == "60000001"
    assert (second.type, second.code, second.path, second.token, second.payload) == (
        Type.NON,
        Code.POST,
        ("h",),
        b"",
        b"",
    )


class SilentLink:
    """A TCP link that only notes what is sent."""

    transport = Transport.TCP

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


def test_on_tcp_the_answer_to_a_signal_is_not_taken_for_that_to_a_ping() -> None:
    async def run() -> None:
        channel = Channel(SilentLink(), Timing(), lambda: None)  # type: ignore[arg-type]
        pinged = channel.request(ping(channel.next_mid()))
        signalled = channel.request(messages.signal(channel.next_mid(), b"\x07", True))
        assert channel.acknowledge(Message(Type.ACK, Code.CHANGED, 0xBEEF, b"\x07"))
        assert signalled.answer.done()
        assert not pinged.answer.done()
        assert channel.acknowledge(Message(Type.ACK, Code.EMPTY, 0xBEF0))
        assert pinged.answer.done()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["boron", "electron", "argon"])
def test_the_same_firmware_again_needs_no_hello(name: str, cloud: DeviceCloud, boards: MakeBoard) -> None:
    """Nothing that a resuming device compares has changed (fact sheet 2.7), so a ping is all it sends."""
    board = bring_up(boards(name), cloud)
    part = board.kit.platform.user_part
    file = modules.build(
        board.kit.platform.id, modules.ModuleFunction.USER_PART, part.index, 6, part.start, b"app" * 999
    )
    assert cloud.flash(board, file, within=20).reason == ""

    def resume() -> None:
        board.send(ping(board.next_mid()))
        board._updates_event()

    board._resume = resume  # type: ignore[method-assign]
    mark = cloud.mark()
    report = cloud.flash(board, file, within=20)
    assert report.ok, (report, cloud.device_log(board)[-25:])
    assert ContactKind.HELLO not in [contact.kind for contact in cloud.contacts(board, since=mark)]
