"""The board's cloud client against the project's own Device Cloud: what each proved alone works together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from firmware.probe.twin import App as Probe
from hil.cloud.config import CloudConfig
from hil.cloud.state.presence import ContactKind
from hil.cloud.sync.facade import DeviceCloud
from hil.device import keys, modules
from hil.device.keys import ServerAddress
from hil.device.platforms import by_name
from hil.virtual.app.wiring import AckMode
from tests.virtual.cloudbench import BOARDS, UDP_BOARDS, Bench, device_key


@contextmanager
def cloud_and_board(model: str) -> Iterator[tuple[DeviceCloud, Bench]]:
    with Bench(model) as bench:
        host = bench.server.host
        bench.server.close()  # the scripted one makes room
        config = CloudConfig(host=host, tcp_port=0, http_port=None, udp_port=0 if bench.profile.tcp else 5684)
        with DeviceCloud(config) as cloud:
            own = cloud.server_keys
            bench.facts.server_der = own.rsa_public_der if bench.profile.tcp else own.ec_public_der
            bench.facts.address = ServerAddress(host, cloud.tcp_port)
            bench.factory = Probe
            cloud.register(
                bench.facts.device_id.hex(),
                platform_id=by_name(model).id,
                public_key=keys.public_der(device_key(model)),
            )
            yield cloud, bench
            bench.client.stop()


@pytest.mark.parametrize("model", BOARDS)
def test_a_day_of_a_board(model: str) -> None:
    with cloud_and_board(model) as (cloud, bench):
        board = bench.facts.device_id.hex()
        bench.boot()
        cloud.wait_online(board, within=10)
        bench.facts.wait_log("cloud connected")
        assert cloud.call(board, "probe_echo", "grüße") == 7
        bench.app.control_request(b'{"c":"variable","n":"probe_double","t":"double","v":2.5}').result(10)
        assert cloud.read(board, "probe_double") == 2.5
        bench.client.publish("lab/temperature", b"21", ttl=60, ack=AckMode.WITH_ACK)
        assert cloud.events.expect("lab/temperature", data="21", source=board)
        cloud.signal(board, True)
        bench.facts.wait_log("signal on")
        assert cloud.ping(board)
        since = cloud.mark()
        bench.client.disconnect()
        cloud.wait_offline(board, within=10)
        bench.client.connect()
        cloud.wait_online(board, within=10, since=since)
        bench.facts.wait_log("cloud connected", 2)
        assert cloud.call(board, "probe_answer") == 42


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_a_reset_is_a_resumed_session_for_the_cloud(model: str) -> None:
    with cloud_and_board(model) as (cloud, bench):
        board = bench.facts.device_id.hex()
        bench.boot()
        bench.facts.wait_log("cloud connected")
        since = cloud.mark()
        bench.reset(goodbye="reset")
        bench.boot()
        cloud.wait_online(board, within=10, since=since)
        bench.facts.wait_log("cloud connected", 2)
        arrivals = [contact.kind for contact in cloud.contacts(board, since) if contact.is_arrival]
        # An Electron does not mark its first record: the cloud sees it move to another port.
        assert arrivals == [ContactKind.MOVED if model == "electron" else ContactKind.RESUME]
        assert cloud.call(board, "probe_answer") == 42


@pytest.mark.parametrize("model", BOARDS)
def test_the_cloud_updates_the_board(model: str) -> None:
    with cloud_and_board(model) as (cloud, bench):
        board = bench.facts.device_id.hex()
        bench.boot()
        bench.facts.wait_log("cloud connected")
        part = bench.facts.platform.user_part_for(bench.facts.device_os)
        file = modules.build(
            bench.facts.platform.id, modules.ModuleFunction.USER_PART, part.index, 6, part.start, b"x" * 9000
        )
        cloud.start_flash(board, file)
        assert bench.facts.wait_applied() == file


@pytest.mark.parametrize("model", UDP_BOARDS)
def test_disconnect_by_the_cloud_makes_a_new_handshake(model: str) -> None:
    with cloud_and_board(model) as (cloud, bench):
        board = bench.facts.device_id.hex()
        bench.boot()
        bench.facts.wait_log("cloud connected")
        since = cloud.mark()
        cloud.disconnect(board)
        cloud.wait_online(board, within=10, since=since)
        bench.facts.wait_log("cloud connected", 2)
        assert cloud.call(board, "probe_echo", "x") == 1
