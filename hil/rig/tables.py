"""The tables of a rig file, each checked on its own. USB fact sheet 9.1 and 9.2.

Relative paths in them are taken from the root of the project that the rig file lies in.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from hil.cloud.config import OfflineStatus, Policy
from hil.device.platforms import PLATFORMS, Platform, by_name
from hil.rig.mistakes import Table, suggest
from hil.rig.project import STATE

PORT = re.compile(r"\d+-\d+(\.\d+)*")
RELEASE = re.compile(r"\d+\.\d+\.\d+(-[a-z]+\.\d+)?")
_ROOT = "root"
_DEVICE_ID = re.compile(r"[0-9a-f]{24}")
_APP = re.compile(r"[A-Za-z0-9_.-]+(@[A-Za-z0-9_.-]+)?")


def from_root(root: Path) -> dict[str, Path]:
    """Context for pydantic, which makes the paths of a rig absolute."""
    return {_ROOT: root}


def _absolute(value: Path, info: ValidationInfo) -> Path:
    root = info.context.get(_ROOT) if isinstance(info.context, dict) else None
    return value if root is None else root / value


RigPath = Annotated[Path, AfterValidator(_absolute)]


def _app(value: str) -> str:
    if not _APP.fullmatch(value):
        raise ValueError('an application such as "greenhouse" or "greenhouse@2" is expected')
    return value


def _template(value: str) -> str:
    """A path in which ``{platform}`` is all that has to be filled in."""
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(value)}
    except ValueError:
        names = {"?"}
    if names - {"platform", None}:
        raise ValueError("a path is expected in which only {platform} is to be filled in")
    return value


_App = Annotated[str, AfterValidator(_app)]
_Template = Annotated[str, AfterValidator(_template)]


class CloudTable(Table):
    """Where boards find the cloud. ``host`` is what is written into them; the gateways listen there too.

    ``offline_status``: what the HTTP API answers about a device that is offline (cloud API fact sheet 2.2).
    """

    host: str
    tcp_port: int = Field(default=5683, ge=0, le=65534)
    udp_port: int = Field(default=5684, ge=0, le=65534)
    http_port: int = Field(default=0, ge=0, le=65535)
    offline_status: Literal[400, 404] = 400

    @property
    def policy(self) -> Policy:
        """Readings of the rules that the rig asks for."""
        return Policy(offline_status=OfflineStatus(self.offline_status))


NETWORK_VARIABLE = "HIL_NETWORK"


class NetworkTable(Table):
    """``service``: a network service commands the firewall, at ``socket`` or where ``HIL_NETWORK`` says."""

    kind: Literal["service", "none"] = "none"
    socket: RigPath | None = None


class FirmwareTable(Table):
    """Where applications come from.

    ``directory``: built images, ``<directory>/<app>@<version>/<platform>.bin``. ``images``: single ones elsewhere, by
    ``"greenhouse"`` or ``"greenhouse@2"``, as a path in which ``{platform}`` stands for the platform's name.
    ``applications``: folders that hold ``<app>/twin.py``, for virtual boards.
    """

    directory: RigPath = Field(default=Path(STATE, "images"), validate_default=True)
    images: Mapping[_App, _Template] = Field(default_factory=dict)
    applications: tuple[RigPath, ...] = ()


class TimingTable(Table):
    """Waits of this bench, in seconds.

    ``offline_for``: how long a board that cannot reach the cloud is watched before it counts as kept away; longer
    than a board of the bench needs to come online. ``settle``: how long a flashed board must stay in one mode.
    """

    offline_for: float = Field(default=20.0, gt=0)
    settle: float = Field(default=0.5, ge=0)


class NoPowerTable(Table):
    """The board cannot be switched."""

    kind: Literal["none"] = "none"


class UhubctlTable(Table):
    """A hub that switches its ports. ``hub`` and ``port`` as uhubctl names them (``-l`` and ``-p``)."""

    kind: Literal["uhubctl"]
    hub: str
    port: int = Field(ge=1)


class TasmotaTable(Table):
    """A plug with Tasmota firmware behind an MQTT broker. ``relay`` 1 to n for plugs with several."""

    kind: Literal["tasmota"]
    broker: str
    port: int = 1883
    topic: str
    relay: int | None = Field(default=None, ge=1)
    username: str | None = None
    password_file: RigPath | None = None


class CommandTable(Table):
    """Any switch that has a command. ``on`` and ``off`` are programs with arguments; ``{port}`` is the slot's port."""

    kind: Literal["command"]
    on: tuple[str, ...] = Field(min_length=1)
    off: tuple[str, ...] = Field(min_length=1)


PowerTable = Annotated[NoPowerTable | UhubctlTable | TasmotaTable | CommandTable, Field(discriminator="kind")]


class BoardTable(Table):
    """What slots and virtual boards have in common. ``port`` is the USB port path."""

    port: str
    platform: str
    device_id: str | None = None
    device_os: str

    @field_validator("port")
    @classmethod
    def _port(cls, value: str) -> str:
        if not PORT.fullmatch(value):
            raise ValueError('a USB port path such as "1-1.4" is expected; `hil boards` shows them')
        return value

    @field_validator("platform")
    @classmethod
    def _platform(cls, value: str) -> str:
        names = [platform.name for platform in PLATFORMS]
        if value not in names:
            raise ValueError(f"one of {', '.join(names)} is expected{suggest(value, names)}")
        return value

    @field_validator("device_os")
    @classmethod
    def _device_os(cls, value: str) -> str:
        if not RELEASE.fullmatch(value):
            raise ValueError('a Device OS release such as "6.2.0" is expected')
        return value

    @field_validator("device_id")
    @classmethod
    def _device_id(cls, value: str | None) -> str | None:
        if value is not None and not _DEVICE_ID.fullmatch(value):
            raise ValueError("24 hex digits in lower case are expected")
        return value

    @property
    def board_platform(self) -> Platform:
        """The platform as an object."""
        return by_name(self.platform)


class SlotTable(BoardTable):
    """One place of the rig and the board that belongs there.

    ``device_id`` ``None`` takes whatever board of the platform is there. ``variant`` is what USB cannot tell (``"E
    Series"``), ``features`` are free words that tests ask for, ``address`` is the board's IPv4 address if it is known,
    ``keep_alive`` what its application gives ``Particle.keepAlive()``, in seconds.
    """

    gone: ClassVar[Mapping[str, str]] = {
        "debugger": "hil drives no debugger, so leave it out, or keep it as a comment for people"
    }

    name: str = Field(min_length=1)
    variant: str | None = Field(default=None, min_length=1)
    address: str | None = None
    features: tuple[str, ...] = ()
    keep_alive: float | None = Field(default=None, gt=0, le=86_400)
    power: PowerTable = NoPowerTable()

    @field_validator("address")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        try:
            return None if value is None else str(IPv4Address(value))
        except ValueError:
            raise ValueError('an IPv4 address such as "192.168.77.21" is expected') from None

    @property
    def kind(self) -> str:
        """What people call the board: its variant, else its platform's name."""
        return self.variant or self.platform

    @property
    def offers(self) -> frozenset[str]:
        """All words that a test can ask for as a feature: the features, and the variant as one of them."""
        return frozenset(self.features) | ({self.variant} if self.variant else set())


class VirtualBoardTable(BoardTable):
    """A board of the virtual rack."""

    device_id: str


class VirtualTable(Table):
    """What the virtual rack holds instead of the boards of the slots."""

    boards: tuple[VirtualBoardTable, ...] = Field(min_length=1)
