"""What the clients of both generations say about a device that is offline (issue 6, point 10).

``particle call`` speaks through particle-api-js, which shows ``error_description``. ``particle get`` goes through the
client that particle-cli has had since its first release, which shows ``error``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.cloud.config import OfflineStatus, Policy
from tests.clients.particle_clients import CLI, ParticleClients
from tests.cloud_http.live import DEVICE_ID, PASSWORD, USER, Live, live_cloud

LEGACY_CALL = f"""
const Legacy = require({str(CLI.parent / "lib" / "api-client.js")!r});
const settings = require({str(CLI.parents[1] / "settings.js")!r});
settings.whichProfile();
settings.loadOverrides();
const client = new Legacy(settings.apiUrl, settings.access_token);
client.callFunction({DEVICE_ID!r}, 'led', 'on').then((body) => console.log(Legacy.normalizedApiError(body).message));
"""


@pytest.fixture
def offline(live: Live) -> None:
    """A device that never connects."""
    live.device()


@pytest.mark.usefixtures("offline")
def test_an_offline_device_reads_as_offline(particle: ParticleClients) -> None:
    for words in (
        ("call", "gate", "led", "on"),
        ("get", "gate", "temperature"),
        ("cloud", "nyan", DEVICE_ID, "on"),
    ):
        said = particle.cli(*words)
        assert said.returncode != 0
        assert "The device is not connected" in said.stdout
        assert "not found" not in said.stdout
    called = particle.cli("call", DEVICE_ID, "led", "on").stdout
    assert f"The device is not connected: device gate ({DEVICE_ID}) is offline" in called
    assert particle.node("-e", LEGACY_CALL).strip() == "The device is not connected"


class TestByTheDocuments:
    """A cloud whose policy is the documented 404."""

    @pytest.fixture
    def live(self) -> Iterator[Live]:
        with live_cloud(policy=Policy(offline_status=OfflineStatus.NOT_FOUND)) as running:
            yield running

    @pytest.mark.usefixtures("offline")
    def test_the_documented_status_is_what_misleads_particle_cli(
        self, clients: ParticleClients, tmp_path: Path
    ) -> None:
        clients.expect("login", "--username", USER, "--password", PASSWORD)
        assert (tmp_path / ".particle").exists()
        assert "Function `led` not found" in clients.cli("call", DEVICE_ID, "led", "on").stdout
        assert "The device is not connected" in clients.cli("get", DEVICE_ID, "temperature").stdout
