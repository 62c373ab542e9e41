"""A cloud that stops, or is killed, goes on where it was: registrations, sessions, counts, record numbers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil.cloud.billing.feature import Billing
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.sessionstore import RESERVE, SessionStore
from hil.cloud.state.store import Store
from hil.cloud.sync.facade import DeviceCloud
from hil.device import keys
from hil.errors import UsageError
from hil.wire import messages
from hil.wire.coap.message import encode
from hil.wire.dtls import ServerConnection
from tests.cloud.conftest import bring_up, config, dial, introduce
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import PATIENCE, ScriptedBoard

UDP = ("boron", "electron", "argon")


@pytest.mark.parametrize("name", UDP)
@pytest.mark.parametrize("power_cycle", [False, True], ids=["stays on", "power cycle"])
def test_a_session_outlives_the_cloud(name: str, power_cycle: bool, tmp_path: Path) -> None:
    board = ScriptedBoard(KITS[name])
    board.prefixes.append("garden/")
    with DeviceCloud(config(tmp_path)) as first:
        introduce(board, first)
        bring_up(board, first)
        token = first.token()
        ports = {"tcp_port": first.tcp_port, "udp_port": first.udp_port}
        server_key = first.server_keys.ec_public_der
        board.publish("t", b"1")
    session = board.session
    with DeviceCloud(config(tmp_path, **ports)) as second:
        second.wait_online(board)  # the cloud asks by itself whether the device is still there
        if power_cycle:
            board.power_off()
            mark = second.mark()
            board.power_on()
            second.wait_online(board, since=mark)
        assert board.session is session
        assert second.server_keys.ec_public_der == server_key
        assert second.core.users.user_for_token(token) is not None
        view = second.device(board)
        assert view.product_id == board.kit.platform.id
        assert view.functions == ("led",)
        assert second.call(board, "led", "on") == 2
        assert second.read(board, "temp") == 21.5
        position = len(board.inbox)
        second.publish("garden/valve", "open")
        assert board.wait_event("garden/valve", position).data == b"open"
        assert [event.name for event in second.core.bus.journal.since() if event.name == "t"] == ["t"]
        causes = [row.cause for row in second.core.feature(Billing).ledger.rows(owner="hil")]
        assert causes == ["publish t", "call led", "read temp", "deliver garden/valve"]
        assert second.core.feature(Billing).ledger.total("hil") == 4
        board.power_off()


def test_a_device_that_is_gone_is_not_online_after_a_restart(tmp_path: Path) -> None:
    board = ScriptedBoard(KITS["argon"])
    with DeviceCloud(config(tmp_path)) as first:
        introduce(board, first)
        bring_up(board, first)
    board.power_off()
    with DeviceCloud(config(tmp_path)) as second:
        assert second.never_online(board, for_=0.5)
        assert not second.online(board)


def test_two_clouds_do_not_share_a_state_directory(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path)), pytest.raises(UsageError, match="another cloud uses"):
        DeviceCloud(config(tmp_path)).start()
    with DeviceCloud(config(tmp_path)) as again:
        assert again.device is not None


def test_secrets_are_readable_by_nobody_else(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with DeviceCloud(config(state)):
        assert state.stat().st_mode & 0o777 == 0o700
        for name in ("cloud.sqlite", "server_rsa.der", "server_ec.der"):
            assert (state / name).stat().st_mode & 0o777 == 0o600


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.migrate("part", ["CREATE TABLE one (x)"])
    with pytest.raises(sqlite3.OperationalError):
        store.migrate("part", ["CREATE TABLE one (x)", "CREATE TABLE two (x); nonsense"])
    store.close()
    store = Store(tmp_path)
    store.migrate("part", ["CREATE TABLE one (x)", "CREATE TABLE two (x)"])
    with pytest.raises(UsageError, match="newer version"):
        store.migrate("part", ["CREATE TABLE one (x)"])
    store.close()


@dataclass
class CloudProcess:
    """A cloud in a process of its own, to be killed."""

    process: subprocess.Popen[str]
    tcp_port: int
    udp_port: int
    rsa: bytes
    ec: bytes

    @classmethod
    def start(cls, state: Path, key: bytes = b"", *, tcp_port: int = 0, udp_port: int = 0) -> CloudProcess:
        script = Path(__file__).with_name("cloud_process.py")
        arguments = [sys.executable, str(script), str(state), str(tcp_port), str(udp_port), key.hex()]
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        return cls(
            process,
            line["tcp"],
            line["udp"],
            bytes.fromhex(line["rsa"]),
            bytes.fromhex(line["ec"]),
        )

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


def test_kill_9_loses_no_acknowledged_event_and_no_session(tmp_path: Path) -> None:
    board = ScriptedBoard(KITS["argon"])
    cloud = CloudProcess.start(tmp_path, board.public_key)
    board.dial("127.0.0.1", cloud.tcp_port, cloud.udp_port, cloud.rsa, cloud.ec)
    board.power_on()
    sent: list[str] = []
    acknowledged: set[str] = set()
    try:
        for round_ in range(3):
            for number in range(40):
                publish(board, f"{round_}-{number}", sent, acknowledged)
            # More on its way while the process dies: some of it is acknowledged, some is not.
            loose = [publish_unasked(board, f"{round_}-loose-{number}") for number in range(20)]
            cloud.kill()
            acknowledged.update(
                name for name, mid in loose if any(one.mid == mid for one in board.inbox.since())
            )
            cloud = CloudProcess.start(tmp_path, tcp_port=cloud.tcp_port, udp_port=cloud.udp_port)
        session = board.session
        publish(board, "last", sent, acknowledged)
        assert board.session is session, "the session was taken up, not made anew"
    finally:
        cloud.kill()
        board.power_off()
    with DeviceCloud(config(tmp_path)) as after:
        stored = [event.data for event in after.core.bus.journal.since() if event.name == "count"]
        counted = after.core.feature(Billing).ledger.total("hil")
    assert acknowledged <= set(stored)
    assert len(acknowledged) >= 121
    assert len(stored) == len(set(stored)), "no event is handed out twice"
    assert counted >= len(acknowledged)


def publish(board: ScriptedBoard, data: str, sent: list[str], acknowledged: set[str]) -> None:
    """Publish as a board does: again and again under one message id until it is acknowledged."""
    message = messages.event(board.next_mid(), "count", data.encode(), confirmable=True)
    position = len(board.inbox)
    sent.append(data)
    for _ in range(50):
        board.send(message)
        if board.inbox.wait(lambda one: one.mid == message.mid, position=position, within=0.2):
            acknowledged.add(data)
            return
    raise AssertionError(f"event {data} is never acknowledged")


def publish_unasked(board: ScriptedBoard, data: str) -> tuple[str, int]:
    message = messages.event(board.next_mid(), "count", data.encode(), confirmable=True)
    board.send(message)
    return data, message.mid


def session_of(board: ScriptedBoard, cloud: DeviceCloud) -> DeviceSession:
    session = cloud.core.sessions.of(board.device_id)
    assert session is not None
    return session


def test_no_record_number_is_ever_used_twice(tmp_path: Path) -> None:
    """Records sent after the last save are not known to the next process: it must start behind them."""
    with DeviceCloud(config(tmp_path)) as cloud:
        board = ScriptedBoard(KITS["argon"])
        introduce(board, cloud)
        bring_up(board, cloud)
        link = session_of(board, cloud).link
        session = link._link.session  # type: ignore[attr-defined]
        used = set()
        store = SessionStore(cloud.core.services.store)
        for _ in range(3 * RESERVE):
            used.add(session.write_sequence)
            cloud._background.call(link.send, encode(messages.event(1, "x", confirmable=False)))
            next_process = store.load()[0].session
            assert next_process.write_sequence > max(used)
            assert next_process.write_sequence <= session.write_sequence + RESERVE
        board.power_off()


def test_message_ids_go_on_behind_those_that_may_have_been_used(tmp_path: Path) -> None:
    board = ScriptedBoard(KITS["argon"])
    with DeviceCloud(config(tmp_path)) as first:
        introduce(board, first)
        bring_up(board, first)
        first.call(board, "led")
        last = session_of(board, first).channel.mid
    board.power_off()
    with DeviceCloud(config(tmp_path)) as second:
        now = session_of(board, second).channel.mid
        assert 0 < (now - last) & 0xFFFF <= RESERVE + 1


def test_wait_online_says_what_the_cloud_saw(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path)) as cloud:
        board = ScriptedBoard(KITS["argon"])
        introduce(board, cloud)
        with pytest.raises(AssertionError, match=r"still offline[\s\S]*nothing"):
            cloud.wait_online(board, within=0.01)


def test_first_use_trust_keeps_the_first_key(tmp_path: Path) -> None:
    for name in ("photon", "argon"):
        board, impostor = ScriptedBoard(KITS[name]), ScriptedBoard(KITS[name])
        with DeviceCloud(config(tmp_path / name, first_use_trust=True)) as cloud:
            dial(board, cloud)
            dial(impostor, cloud)
            bring_up(board, cloud)
            assert cloud.device(board).owner == "hil"
            mark = cloud.mark()
            impostor.power_on()
            refused = cloud.core.services.log.journal.wait(
                lambda line: "not the one on file" in line.line, position=mark.lines, within=PATIENCE
            )
            assert refused
            assert cloud.call(board, "led", "x") == 1
            impostor.power_off()
            board.power_off()


def test_a_cid_is_never_given_to_a_device_that_did_not_ask(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path)) as cloud:
        for name, length in (("boron", 0), ("electron", 8), ("argon", 8)):
            board = ScriptedBoard(KITS[name])
            introduce(board, cloud)
            bring_up(board, cloud)
            assert board.session is not None
            assert len(board.session.cid) == length
            board.power_off()


def test_garbage_on_both_ports_changes_nothing(tmp_path: Path) -> None:
    import socket

    with DeviceCloud(config(tmp_path)) as cloud:
        board = ScriptedBoard(KITS["argon"])
        introduce(board, cloud)
        bring_up(board, cloud)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for junk in (
                b"",
                b"\x00",
                b"\x16\xfe\xfd" + bytes(60),
                b"\x19\xfe\xfd" + bytes(60),
                b"\xfe" * 40,
            ):
                sock.sendto(junk, ("127.0.0.1", cloud.udp_port))
        with socket.create_connection(("127.0.0.1", cloud.tcp_port)) as sock:
            sock.sendall(os.urandom(256))
            while sock.recv(4096):
                pass  # the nonce, then the end
        assert cloud.call(board, "led", "x") == 1
        board.power_off()


def test_handshake_keys_are_the_server_keys(tmp_path: Path) -> None:
    with DeviceCloud(config(tmp_path)) as cloud:
        assert len(cloud.server_keys.rsa_public_der) == 294
        assert len(cloud.server_keys.ec_public_der) == keys.EC_PUBLIC_SIZE
        assert (
            ServerConnection(cloud.server_keys.ec, cid=bytes(8), accept_key=lambda _spki: True).take_output()
            == []
        )
