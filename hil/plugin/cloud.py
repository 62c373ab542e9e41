"""``cloud``: the Device Cloud of this run, looking at this test's events only."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from hil.report.evidence import Evidence

if TYPE_CHECKING:
    from hil.cloud.sync.facade import DeviceCloud
    from hil.rig.cloud_board import CloudBoard
    from hil.rig.live import Rig


@pytest.fixture
def cloud(rig: Rig, board: CloudBoard, evidence: Evidence) -> DeviceCloud:
    """The cloud, with event waits that look back to the start of this test."""
    cloud = rig.cloud
    mark = cloud.events.begin()
    evidence.add(f"cloud log of {board.name}", "log", lambda: "\n".join(cloud.device_log(board, since=mark)))
    return cloud


@pytest.fixture
def topic() -> str:
    """The beginning of event names that no other test uses: a device keeps a subscription until it connects anew."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def stranger_key(board: CloudBoard) -> bytes:
    """A device public key (SPKI DER) of the board's kind that is not the board's."""
    from hil.device.keys import generate_device_key, public_der

    return public_der(generate_device_key(board.platform))


@pytest.fixture
def stranger_keys() -> StrangerKeys:
    """Public keys of a cloud that is not ours."""
    from hil.device.keys import generate_server_ec, generate_server_rsa, public_der

    return StrangerKeys(public_der(generate_server_rsa()), public_der(generate_server_ec()))


class StrangerKeys:
    """SPKI DER of another cloud's two keys."""

    def __init__(self, rsa_public_der: bytes, ec_public_der: bytes) -> None:
        self.rsa_public_der = rsa_public_der
        self.ec_public_der = ec_public_der
