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


NETWORK_IN_THE_AIR = "hil-rack"  # the one Wi-Fi network that a virtual radio sees


def _delivered() -> list[WifiNetwork]:
    """A virtual board comes set up, as a board of a bench is: it knows the network that is there."""
    return [WifiNetwork(NETWORK_IN_THE_AIR, 3, "the rack's own")]


@dataclass(slots=True)
class AccessPoint:
    """Access point settings of one SIM."""

    apn: str = ""
    user: str = ""
    password: str = ""


@dataclass(slots=True)
class Stored:
    """``startup_listening``: listen after the next start. ``access_points`` has the SIMs whose settings are not the
    defaults, by type (1 internal, 2 external). ``networks`` are the known Wi-Fi networks, what was joined last first.
    """

    serial_number: str | None = None
    product_id: int = 0
    product_version: int = NO_PRODUCT
    startup_listening: bool = False
    ethernet_detection: bool = False
    active_sim: int = 1
    networks: list[WifiNetwork] = field(default_factory=_delivered)
    access_points: dict[int, AccessPoint] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Stored:
        """From ``path``; a board without the file has nothing stored. What the file does not name is as at first."""
        if not path.exists():
            return cls()
        content = json.loads(path.read_text())
        named = frozenset(content)
        networks = [_network(each) for each in content.pop("wifi", [])]
        # Files of an earlier build: those boards were on the rack's network without knowing it.
        earlier = [_network(each) for each in content.pop("networks", [])]
        if "wifi" not in named:
            networks = [*_delivered(), *(each for each in earlier if each.ssid != NETWORK_IN_THE_AIR)]
        points = {int(sim): AccessPoint(**each) for sim, each in content.pop("access_points", {}).items()}
        return cls(**content, networks=networks, access_points=points)

    def save(self, path: Path) -> None:
        content = asdict(self)
        content["wifi"] = content.pop("networks")
        write_atomically(path, json.dumps(content).encode())


def _network(content: dict[str, object] | list[object]) -> WifiNetwork:
    """Files of an earlier build hold lists."""
    values = content.values() if isinstance(content, dict) else content
    ssid, security, password = values
    return WifiNetwork(str(ssid), int(str(security)), str(password))
