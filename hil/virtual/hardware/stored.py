"""What a board keeps outside the memories that DFU shows: one small file, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hil.device.modules import NO_PRODUCT
from hil.virtual.hardware.flash import write_atomically


@dataclass(slots=True)
class WifiNetwork:
    """A stored network. ``security``: 0 none, 1 WEP, 2 WPA, 3 WPA2; larger numbers as the host gave them."""

    ssid: str
    security: int
    password: str = ""


@dataclass(slots=True)
class AccessPoint:
    """Access point settings of one SIM."""

    apn: str = ""
    user: str = ""
    password: str = ""


@dataclass(slots=True)
class Stored:
    """``startup_listening``: listen after the next start. ``access_points`` has the SIMs whose settings are not the
    defaults, by type (1 internal, 2 external)."""

    serial_number: str | None = None
    product_id: int = 0
    product_version: int = NO_PRODUCT
    startup_listening: bool = False
    ethernet_detection: bool = False
    active_sim: int = 1
    networks: list[WifiNetwork] = field(default_factory=list)
    access_points: dict[int, AccessPoint] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Stored:
        """From ``path``; a board without the file has nothing stored. What the file does not name is as at first."""
        if not path.exists():
            return cls()
        content = json.loads(path.read_text())
        networks = [_network(each) for each in content.pop("networks", [])]
        points = {int(sim): AccessPoint(**each) for sim, each in content.pop("access_points", {}).items()}
        return cls(**content, networks=networks, access_points=points)

    def save(self, path: Path) -> None:
        write_atomically(path, json.dumps(asdict(self)).encode())


def _network(content: dict[str, object] | list[object]) -> WifiNetwork:
    """Files of an earlier build hold lists."""
    values = content.values() if isinstance(content, dict) else content
    ssid, security, password = values
    return WifiNetwork(str(ssid), int(str(security)), str(password))
