"""A cloud with an online Photon, and Particle's own clients pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.particle_clients import ParticleClients
from tests.cloud_http.live import FIRMWARE, PASSWORD, USER, Live, live_cloud, scripted_photon
from tests.cloud_http.scripted_device import ScriptedDevice


@pytest.fixture
def live() -> Iterator[Live]:
    """A running cloud."""
    with live_cloud() as running:
        yield running


@pytest.fixture
def photon(live: Live) -> Iterator[ScriptedDevice]:
    """An online device."""
    with scripted_photon(live) as device:
        yield device


@pytest.fixture
def clients(live: Live, tmp_path: Path) -> Iterator[ParticleClients]:
    """The clients; whatever they did, they stayed on this machine."""
    running = ParticleClients(tmp_path, live.url)
    yield running
    assert running.outside_hosts == []


@pytest.fixture
def particle(clients: ParticleClients) -> ParticleClients:
    """The command line, logged in."""
    said = clients.expect("login", "--username", USER, "--password", PASSWORD)
    assert "Successfully completed login!" in said
    return clients


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    """A file that the Photon takes."""
    path = tmp_path / "firmware.bin"
    path.write_bytes(FIRMWARE)
    return path
