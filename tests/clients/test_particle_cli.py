"""particle-cli as it is published, against the local cloud (cloud API fact sheet 1.2, 1.3)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hil.cloud.state.events import Subscription
from hil.device.keys import generate_device_key, load_public
from hil.device.platforms import Transport
from tests.clients.particle_clients import ParticleClients
from tests.cloud_http.live import DEVICE_ID, FIRMWARE, PASSWORD, PATIENCE, USER, Live
from tests.cloud_http.scripted_device import ScriptedDevice


def test_logging_in_and_out(clients: ParticleClients) -> None:
    wrong = clients.cli("login", "--username", USER, "--password", "wrong")
    assert wrong.returncode != 0
    assert "User credentials are invalid" in wrong.stdout
    clients.expect("login", "--username", USER, "--password", PASSWORD)
    assert USER in clients.expect("whoami")
    assert f"You have been logged out from {USER}" in clients.expect("logout")
    gone = clients.cli("whoami")
    assert gone.returncode != 0
    assert "You're not logged in" in gone.stdout


@pytest.mark.usefixtures("photon")
def test_list_call_and_get(particle: ParticleClients) -> None:
    listed = particle.expect("list")
    assert f"gate [{DEVICE_ID}] (Photon) is online" in listed
    assert "temperature (double)" in listed
    assert "int led (String args)" in listed
    assert particle.expect("call", DEVICE_ID, "led", "on").split()[-1].endswith("2")
    assert particle.expect("call", "gate", "led", "four").split()[-1].endswith("4")
    assert particle.expect("get", DEVICE_ID, "temperature").strip() == "21.5"
    unknown = particle.cli("call", DEVICE_ID, "nothing", "on")
    assert unknown.returncode != 0
    assert "Function `nothing` not found" in unknown.stdout


def test_publish_and_subscribe(
    particle: ParticleClients, live: Live, photon: ScriptedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = threading.Event()
    subscribe = live.cloud.bus.subscribe

    def watched(*arguments: Any, **options: Any) -> Subscription:
        opened.set()
        return subscribe(*arguments, **options)

    monkeypatch.setattr(live.cloud.bus, "subscribe", watched)
    listener = particle.listen("subscribe", "garden/")
    try:
        assert opened.wait(PATIENCE), "no stream was opened"
        said = particle.expect("publish", "garden/gate", "open")
        assert "Published private event: garden/gate" in said
        heard = listener.wait_for("garden/gate")
        assert '"data":"open"' in heard
        photon.publish("garden/temperature", b"21.5")
        assert f'"coreid":"{DEVICE_ID}"' in listener.wait_for("garden/temperature")
    finally:
        listener.stop()


def test_cloud_flash(live: Live, particle: ParticleClients, photon: ScriptedDevice, firmware: Path) -> None:
    with live.coming_back():
        assert "Flash success!" in particle.expect("cloud", "flash", DEVICE_ID, str(firmware))
        assert photon.flashed.get(timeout=PATIENCE) == FIRMWARE


def test_name_signal_remove_and_claim(live: Live, particle: ParticleClients, photon: ScriptedDevice) -> None:
    particle.expect("cloud", "nyan", DEVICE_ID, "on")
    assert photon.signals.get(timeout=PATIENCE) is True
    assert "Successfully renamed" in particle.expect("cloud", "name", DEVICE_ID, "gatepost")
    assert live.do(lambda: live.cloud.devices.get(DEVICE_ID)).name == "gatepost"
    assert "Okay!" in particle.expect("cloud", "remove", DEVICE_ID, "--yes")
    assert live.do(lambda: live.cloud.devices.get(DEVICE_ID)).owner is None
    assert "Successfully claimed" in particle.expect("cloud", "claim", DEVICE_ID)
    assert live.do(lambda: live.cloud.devices.get(DEVICE_ID)).owner == USER


def test_claiming_what_is_somebody_elses(live: Live, particle: ParticleClients) -> None:
    live.device(owner="eve")
    refused = particle.cli("cloud", "claim", DEVICE_ID)
    assert refused.returncode != 0
    # The command asks whether to request a transfer: it has understood whose device it is.
    assert "belongs to someone else" in refused.stdout
    assert live.do(lambda: live.cloud.devices.get(DEVICE_ID)).owner == "eve"


def test_keys_send(live: Live, particle: ParticleClients, tmp_path: Path) -> None:
    key = generate_device_key(Transport.TCP)
    path = tmp_path / "new.pub.pem"
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert "submitting public key succeeded!" in particle.expect("keys", "send", DEVICE_ID, str(path))
    on_file = live.do(lambda: live.cloud.devices.get(DEVICE_ID)).keys[Transport.TCP]
    assert load_public(on_file).public_numbers() == key.public_key().public_numbers()


def test_the_guard_around_the_clients_would_notice(clients: ParticleClients, tmp_path: Path) -> None:
    """A client that leaves this machine is stopped and noted: what the other tests rely on."""
    script = "require('http').get('http://elsewhere.invalid/').on('error', (e) => console.log(e.message))"
    said = clients.node("-e", script)
    assert "refused: elsewhere.invalid" in said
    assert clients.outside_hosts == ["elsewhere.invalid"]
    (tmp_path / "outside.log").unlink()
