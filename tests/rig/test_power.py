"""Power switches: uhubctl by its output, a Tasmota plug through a real MQTT broker on loopback."""

from __future__ import annotations

import importlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.errors import RigError, UsageError
from hil.rig import programs
from hil.rig.power import NoPower, UhubctlPower, cycle, power_for
from hil.rig.rigfile import TasmotaTable
from hil.rig.tasmota import TasmotaPower
from tests.rig.memory_bench import ARGON, slot

mqtt: Any = importlib.import_module("paho.mqtt.client")
enums: Any = importlib.import_module("paho.mqtt.enums")

OFF = """Current status for hub 1-1 [2109:2813 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, ppps]
  Port 2: 0103 power enable connect [2b04:c00c Particle Argon e00fce68aabbccddeeff0011]
Sent power off request
New status for hub 1-1 [2109:2813 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, ppps]
  Port 2: 0000 off
"""


class Plug:
    """A Tasmota plug: obeys ``cmnd``, tells its state, leaves a last will."""

    def __init__(self, port: int, topic: str, *, obeys: bool = True) -> None:
        self.commands: list[tuple[str, str]] = []
        self._topic, self._obeys = topic, obeys
        self._there = threading.Event()
        self.client = mqtt.Client(enums.CallbackAPIVersion.VERSION2)
        self.client.will_set(f"tele/{topic}/LWT", "Offline", qos=1, retain=True)
        self.client.on_connect = lambda client, *_: client.subscribe(f"cmnd/{topic}/#", 1)
        self.client.on_subscribe = lambda *_: self._there.set()
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._there.wait(10)
        self.client.publish(f"tele/{topic}/LWT", "Online", qos=1, retain=True).wait_for_publish(10)

    def _on_message(self, client: Any, _data: object, message: Any) -> None:
        relay, state = message.topic.rsplit("/", 1)[1], message.payload.decode()
        self.commands.append((relay, state))
        if self._obeys:
            client.publish(f"stat/{self._topic}/RESULT", f'{{"{relay}":"{state}"}}')
            client.publish(f"stat/{self._topic}/{relay}", state)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.client.on_subscribe = self.client.on_message = None  # they lead back here; see hil.rig.tasmota


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    port = _free_port()
    config = tmp_path_factory.mktemp("broker") / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, "mosquitto did not start"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield port
    process.terminate()
    process.wait(10)


def table(port: int, topic: str, relay: int | None = None) -> TasmotaTable:
    return TasmotaTable(kind="tasmota", broker="127.0.0.1", port=port, topic=topic, relay=relay)


def test_a_plug_switches_and_confirms(broker: int) -> None:
    plug = Plug(broker, "bench")
    cycle(TasmotaPower(table(broker, "bench")), off_for=0)
    plug.stop()
    assert plug.commands == [("POWER", "OFF"), ("POWER", "ON")]


def test_one_of_several_relays(broker: int) -> None:
    plug = Plug(broker, "strip")
    TasmotaPower(table(broker, "strip", relay=3)).off()
    plug.stop()
    assert plug.commands == [("POWER3", "OFF")]


def test_a_plug_that_does_not_confirm_is_an_error(broker: int) -> None:
    plug = Plug(broker, "stuck", obeys=False)
    with pytest.raises(RigError, match="plug stuck did not confirm OFF"):
        TasmotaPower(table(broker, "stuck"), within=0.3).off()
    plug.stop()
    assert plug.commands == [("POWER", "OFF")]


def test_a_plug_whose_last_will_says_offline_gets_no_command(broker: int) -> None:
    plug = Plug(broker, "away")
    plug.client.publish("tele/away/LWT", "Offline", qos=1, retain=True).wait_for_publish(10)
    with pytest.raises(RigError, match="plug away is offline"):
        TasmotaPower(table(broker, "away")).off()
    plug.stop()
    assert plug.commands == []


def test_a_broker_that_is_not_there_is_named() -> None:
    port = _free_port()
    with pytest.raises(RigError, match=f"cannot reach MQTT broker 127.0.0.1:{port}"):
        TasmotaPower(table(port, "x")).on()


def test_uhubctl_is_believed_by_the_new_state_it_prints() -> None:
    calls: list[list[str]] = []

    def run(arguments: list[str]) -> str:
        calls.append(arguments)
        return OFF

    UhubctlPower("1-1", 2, run).off()
    assert calls == [["-l", "1-1", "-p", "2", "-a", "off"]]
    with pytest.raises(RigError, match="did not switch port 2 on"):
        UhubctlPower("1-1", 2, run).on()
    with pytest.raises(RigError, match="did not switch port 3 off"):
        UhubctlPower("1-1", 3, run).off()


def test_a_missing_uhubctl_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", str(tmp_path))
    with pytest.raises(RigError, match="apt-get install uhubctl"):
        UhubctlPower("1-1", 2).off()


def test_uhubctl_is_found_where_an_ordinary_path_does_not_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "uhubctl"
    program.write_text(f"#!/bin/sh\necho '{OFF}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", str(tmp_path))
    UhubctlPower("1-1", 2).off()


def test_any_command_can_be_a_switch(tmp_path: Path) -> None:
    mark = tmp_path / "state"
    script = f"import sys; open({str(mark)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')"
    commands = {state: ["python", "-c", script, state, "{port}"] for state in ("on", "off")}
    table = slot("x", "1-7", "argon", "6.2.0", power={"kind": "command", **commands})
    cycle(power_for(table), off_for=0)
    assert mark.read_text() == "off 1-7\non 1-7\n"


def test_a_command_that_fails_is_an_error_of_the_slot() -> None:
    python = ["python", "-c", "import sys; sys.exit('relay is stuck')"]
    switch = power_for(
        slot("x", "1-7", "argon", "6.2.0", power={"kind": "command", "on": python, "off": ["no-such"]})
    )
    with pytest.raises(RigError, match=r"cannot switch x on[^$]*relay is stuck"):
        switch.on()
    with pytest.raises(RigError, match="no program 'no-such'"):
        switch.off()


def test_a_slot_without_a_switch_says_what_is_missing() -> None:
    switch = power_for(ARGON)
    assert isinstance(switch, NoPower)
    assert not switch.available
    with pytest.raises(UsageError, match="slot argon-1 has no power switch"):
        switch.off()
