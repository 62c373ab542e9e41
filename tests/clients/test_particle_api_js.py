"""particle-api-js as it is published, against the local cloud (cloud API fact sheet 1.1, 2.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.particle_clients import HERE, ParticleClients
from tests.cloud_http.live import DEVICE_ID, FIRMWARE, PASSWORD, PATIENCE, USER, Live, live_cloud
from tests.cloud_http.scripted_device import ScriptedDevice


@pytest.fixture
def said(live: Live, photon: ScriptedDevice, clients: ParticleClients, firmware: Path) -> dict[str, Any]:
    """What every step of one session gave."""
    with live.coming_back():
        steps = clients.api_session(USER, PASSWORD, DEVICE_ID, firmware)
        assert photon.flashed.get(timeout=PATIENCE) == FIRMWARE
    return steps


def test_guessing_with_particle_api_js_ends_after_ten(tmp_path: Path) -> None:
    """Issue 6, point 5: the client is told the status of too many requests."""
    with live_cloud(limits=True) as live:
        clients = ParticleClients(tmp_path, live.url)
        said = clients.node(str(HERE / "wrong_logins.js"), live.url, USER)
    assert said.split() == ["400"] * 10 + ["429"]
    assert clients.outside_hosts == []


def test_a_session_of_particle_api_js(said: dict[str, Any], photon: ScriptedDevice) -> None:
    assert said["login"] == {
        "access_token": 40,
        "token_type": "bearer",
        "expires_in": 7776000,
        "refresh_token": 40,
    }
    assert said["user"]["username"] == USER
    assert said["token"]["client_id"] == "particle-api"
    assert said["publish"] == {"ok": True}
    assert {key: said["event"][key] for key in ("name", "data", "coreid")} == {
        "name": "garden/gate",
        "data": "open",
        "coreid": "api",
    }
    assert [(device["id"], device["connected"]) for device in said["devices"]] == [(DEVICE_ID, True)]
    assert said["device"]["functions"] == ["led", "silent"]
    assert said["call"]["return_value"] == 2
    assert said["variable"]["result"] == 21.5
    assert said["signal"]["signaling"] is True
    assert photon.signals.get(timeout=PATIENCE) is True
    assert said["ping"] == {"online": True, "ok": True}
    assert said["rename"]["name"] == "gatepost"
    assert said["flash"]["status"] == "Update started"
    assert said["logout"] == {"ok": True}
    assert_errors_keep_their_words(said)


def assert_errors_keep_their_words(said: dict[str, Any]) -> None:
    """The client has parsed every error as JSON."""
    errors = {
        step: (said[step]["statusCode"], said[step]["body"]["error"], said[step]["shortErrorDescription"])
        for step in (
            "wrong password",
            "unknown function",
            "unknown variable",
            "unknown route",
            "after logout",
        )
    }
    assert errors == {
        "wrong password": (400, "invalid_grant", "User credentials are invalid"),
        "unknown function": (404, "Function nothing not found", "Function nothing not found"),
        "unknown variable": (404, "Variable not found", "Variable not found"),
        "unknown route": (404, "not_found", "this cloud has no GET /v1/nothing"),
        "after logout": (401, "invalid_token", "The access token provided is invalid"),
    }
