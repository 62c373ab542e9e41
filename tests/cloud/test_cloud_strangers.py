"""Issue 6, points 1 to 3: what reaches the device ports from people who prove nothing.

Facts: RFC 6347 4.2.1, RFC 9146 6, protocol fact sheet 2.4 to 2.7. The judge of the cookie is OpenSSL's client.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.clock import MovableClock
from hil.cloud.config import CloudConfig
from hil.cloud.state.happenings import TurnedAway
from hil.cloud.state.presence import ContactKind
from hil.cloud.sync.facade import DeviceCloud
from hil.wire import messages
from hil.wire.coap.message import encode
from hil.wire.dtls import ClientConnection, Form, classify
from hil.wire.dtls import handshake_messages as hs
from hil.wire.dtls.handshake_messages import HandshakeMessage
from hil.wire.dtls.records import Record
from tests.clock.standing import standing_clock
from tests.cloud.conftest import dial, introduce
from tests.cloud.kits import KITS
from tests.cloud.raw_device import RawDevice
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard


@pytest.fixture
def clock() -> MovableClock:
    return standing_clock()


@pytest.fixture
def cloud(tmp_path: Path, clock: MovableClock) -> Iterator[DeviceCloud]:
    """A cloud with the waits of a real one, on a clock that stands."""
    config = CloudConfig(state_dir=tmp_path, tcp_port=0, udp_port=0, http_port=None)
    with DeviceCloud(config, clock) as running:
        yield running


def lines(cloud: DeviceCloud) -> list[str]:
    return [line.line for line in cloud.core.services.log.journal.since()]


def rows(cloud: DeviceCloud) -> int:
    (row,) = cloud.core.services.store.query("SELECT COUNT(*) AS rows FROM device_log")
    return int(row["rows"])


def random_hello(number: int = 0) -> bytes:
    body = hs.device_client_hello(os.urandom(32), b"", offer_cid=True)
    return Record(22, 0, number, HandshakeMessage(1, 0, body).encode()).encode()


class Stranger:
    """Sends from as many addresses as it likes; each is a socket on a loopback address."""

    def __init__(self, cloud: DeviceCloud) -> None:
        self.target = ("127.0.0.1", cloud.udp_port)

    def say(self, datagram: bytes, host: str, *, answered: bool) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
            sock.settimeout(PATIENCE)
            sock.sendto(datagram, self.target)
            return sock.recv(2048) if answered else b""

    def hellos(self, count: int) -> None:
        """As many hellos, each from an address of its own and answered before the next."""
        for number in range(count):
            answer = self.say(random_hello(), f"127.9.{number >> 8}.{number & 255}", answered=True)
            assert answer[13] == hs.HandshakeType.HELLO_VERIFY_REQUEST

    def wait(self) -> None:
        """Until everything sent before is through."""
        self.say(random_hello(), "127.0.0.1", answered=True)


def known_device(cloud: DeviceCloud, name: str = "argon", number: int = 0) -> RawDevice:
    kit = KITS[name]
    board = ScriptedBoard(kit, f"{kit.device_id[:-2]}{number:02x}" if number else None)
    introduce(board, cloud)
    return RawDevice(cloud, board)


def test_hellos_without_a_cookie_leave_no_state(cloud: DeviceCloud, clock: MovableClock) -> None:
    """Issue 6, point 1: no timer, no line, no row; a piece of a hello leaves none either."""
    clock.advance(200)
    idle = clock.advance(200).fired
    before = (lines(cloud), rows(cloud))
    stranger = Stranger(cloud)
    stranger.hellos(300)
    message = HandshakeMessage(1, 0, bytes(1000))
    for number in range(300):
        stranger.say(Record(22, 0, 0, message.fragment(0, 90)).encode(), "127.8.0.1", answered=False)
        if number % 50 == 49:
            stranger.wait()
    assert (lines(cloud), rows(cloud)) == before
    assert clock.advance(200).fired == idle
    assert (lines(cloud), rows(cloud)) == before


def test_hellos_that_prove_nothing_push_no_proved_handshake_out(cloud: DeviceCloud) -> None:
    """Issue 6, point 1: six slow handshakes while 1,100 hellos come in, more than handshakes are kept."""
    devices = [known_device(cloud, number=number) for number in range(1, 7)]
    clients = [device.begin() for device in devices]
    for device, client in zip(devices, clients, strict=True):
        device.take(client)
    Stranger(cloud).hellos(1_100)
    for device, client in zip(devices, clients, strict=True):
        device.finish(client)
        device.hello(client)
        cloud.wait_online(device.board)
        device.socket.close()


def test_a_hello_without_a_cookie_does_not_end_the_handshake_of_its_address(cloud: DeviceCloud) -> None:
    """Issue 6, point 1: the hello of somebody who writes the device's address on it."""
    with known_device(cloud) as device:
        client = device.begin()
        device.take(client)
        flight = device.socket.recv(2048)
        device.socket.send(random_hello())
        assert device.socket.recv(2048)[13] == hs.HandshakeType.HELLO_VERIFY_REQUEST
        client.receive(flight, 0.0)
        device.flush(client)
        device.finish(client)
        device.hello(client)
        device.socket.send(random_hello())
        while classify(device.socket.recv(2048)).form is not Form.HANDSHAKE:
            pass  # what the cloud tells a device that came online
        assert cloud.online(device.board)
        mid = device.board.next_mid()
        device.say(client, messages.event(mid, "after", b"", confirmable=True))
        assert device.acknowledgements(client, 1) == {mid}


def test_a_handshake_that_gives_way_takes_its_timer_along(cloud: DeviceCloud, clock: MovableClock) -> None:
    """Issue 6, point 1: of 20 proved handshakes of one address only the last is waited for, 135 s."""
    idle = clock.advance(135).fired
    with known_device(cloud) as device:
        for _ in range(20):
            client = device.begin()
            device.take(client)
            device.socket.recv(2048)
        assert clock.advance(134).fired == idle
        assert lines(cloud) == []
        assert clock.advance(1).fired == 1
        assert lines(cloud) == [f"{device.address} handshake: not finished in time"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL's command is not installed")
@pytest.mark.parametrize("options", [[], ["-mtu", "256"]], ids=["whole", "in pieces"])
def test_openssl_proves_its_address_with_our_cookie(options: list[str], cloud: DeviceCloud) -> None:
    """It can go no further, having no raw public keys; alert 43 comes only behind a good cookie."""
    command = ["openssl", "s_client", "-dtls1_2", "-cipher", "ALL:@SECLEVEL=0"]
    client = subprocess.run(
        [*command, *options, "-connect", f"127.0.0.1:{cloud.udp_port}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "SSL alert number 43" in client.stderr
    assert [line for line in lines(cloud) if "does not offer raw public keys" in line]


def online_device(cloud: DeviceCloud, name: str) -> tuple[RawDevice, ClientConnection]:
    device = known_device(cloud, name)
    client = ClientConnection(
        device.board.key,  # type: ignore[arg-type]
        cloud.core.services.keys.ec.public_key(),
        offer_cid=device.board.kit.offer_cid,
    )
    client.start(0.0)
    device.flush(client)
    device.finish(client)
    device.hello(client)
    assert client.session is not None
    client.session.device_id = bytes.fromhex(device.board.device_id)
    cloud.wait_online(device.board)
    return device, client


@pytest.mark.parametrize("name", ["argon", "electron", "boron"])
def test_an_older_record_from_elsewhere_is_taken_but_moves_nothing(name: str, cloud: DeviceCloud) -> None:
    """Issue 6, point 2; RFC 9146 6: authentic *and* newer than the newest."""
    device, client = online_device(cloud, name)
    board, session = device.board, client.session
    assert session is not None
    old, new = (
        session.seal(
            encode(messages.event(board.next_mid(), each, b"", confirmable=True)), resume=board.kit.resume
        )
        for each in ("older", "newer")
    )
    with device, RawDevice(cloud, board) as elsewhere:
        device.socket.send(new)
        cloud.events.expect("newer", source=board)
        mark = cloud.mark()
        elsewhere.socket.send(old)
        cloud.events.expect("older", source=board)
        elsewhere.socket.send(old)  # and once more: a replay is nothing
        assert not [
            contact for contact in cloud.contacts(board, since=mark) if contact.kind is ContactKind.MOVED
        ]
        assert len(device.acknowledgements(client, 2)) == 2
        elsewhere.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.socket.recv(1)
        assert cloud.online(board)


@pytest.mark.parametrize("name", ["argon", "electron", "boron"])
def test_a_newer_record_from_elsewhere_moves_the_session(name: str, cloud: DeviceCloud) -> None:
    device, client = online_device(cloud, name)
    session = client.session
    assert session is not None
    mid = device.board.next_mid()
    message = encode(messages.event(mid, "here", b"", confirmable=True))
    with device, RawDevice(cloud, device.board) as elsewhere:
        elsewhere.socket.send(session.seal(message, resume=device.board.kit.resume))
        assert elsewhere.acknowledgements(client, 1) == {mid}


RESUMED = bytes.fromhex(
    "fdfefd0001000000000002c1d001020304050600200001000000000002bf6141052696f16cfe8bfe2b38da2aad4f8b0623bb4c80b6"
)


def test_strangers_cost_a_few_lines_a_minute_and_a_number(cloud: DeviceCloud, clock: MovableClock) -> None:
    """Issue 6, point 3: records of sessions that are not here, from 100 addresses, twice each."""
    assert classify(RESUMED).form is Form.MOVE
    stranger = Stranger(cloud)
    before = rows(cloud)
    for _ in range(2):
        for number in range(1, 101):
            stranger.say(RESUMED, f"127.0.7.{number}", answered=False)
        stranger.wait()
    said = lines(cloud)
    assert len(said) == 8
    assert all("goes on with a session that this cloud does not have" in line for line in said)
    clock.advance(60)
    *_, last = lines(cloud)
    assert last.startswith("192 more records of unknown sessions within 60 s, the last from 127.0.7.100:")
    assert rows(cloud) - before == 9
    clock.advance(600)
    assert len(lines(cloud)) == 9
    stranger.say(RESUMED, "127.0.7.101", answered=False)
    stranger.wait()
    assert "127.0.7.101:" in lines(cloud)[-1]


def test_on_tcp_strangers_cost_no_more(cloud: DeviceCloud, clock: MovableClock) -> None:
    """Issue 6, point 3: 40 connections that break off with garbage."""
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", cloud.tcp_port), timeout=PATIENCE) as sock:
            sock.sendall(bytes(300))
            while sock.recv(4096):
                pass
    assert len(lines(cloud)) == 1
    clock.advance(60)
    assert lines(cloud)[1:] == ["39 more connections that failed within 60 s, the last from 127.0.0.1"]


def test_who_is_turned_away_again_and_again_is_told_once_a_minute(
    cloud: DeviceCloud, clock: MovableClock
) -> None:
    """Issue 6, point 3: each of two unknown boards is named, with its key, whatever the other does."""
    told: list[object] = []
    cloud.core.services.activity.listeners.append(lambda entry: told.append(entry.what))
    boards = [ScriptedBoard(KITS[name]) for name in ("argon", "boron")]
    for _ in range(2):
        for board in boards:
            dial(board, cloud)
            with RawDevice(cloud, board) as device:
                client = device.begin()
                while client.failed is None:
                    device.take(client)
                assert client.failed == "peer sent fatal alert 49 (access_denied)"
    refused = [what for what in told if isinstance(what, TurnedAway)]
    assert len({what.key for what in refused}) == len(refused) == 2
    clock.advance(60)
    assert [line for line in lines(cloud) if line.startswith("2 more devices turned away within 60 s")]
