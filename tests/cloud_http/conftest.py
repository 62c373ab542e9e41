"""One cloud and one scripted Photon per test file."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.cloud_http.live import Live, live_cloud, scripted_photon
from tests.cloud_http.scripted_device import ScriptedDevice


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """A running cloud."""
    with live_cloud() as running:
        yield running


@pytest.fixture(scope="module")
def photon(live: Live) -> Iterator[ScriptedDevice]:
    """An online device."""
    with scripted_photon(live) as device:
        yield device


@pytest.fixture
def api(live: Live) -> httpx.Client:
    """A client with a token of its own."""
    return live.client()


@pytest.fixture
def anonymous(live: Live) -> httpx.Client:
    """A client without a token."""
    return live.client(None)
