"""Rig files: what a bench has, by USB port path. USB fact sheet 9.1 and 9.2.

TOML, checked as a whole: every mistake is named at once, with its place and, for a misspelt key, the key that was
probably meant. A ``[virtual]`` table belongs to the launcher of the virtual rack and is not looked at here.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from hil.device.platforms import PLATFORMS, Platform, by_name
from hil.errors import UsageError

DEFAULT_RIG = Path("rigs/virtual.toml")
ENVIRONMENT = "HIL_RIG"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CloudTable(_Table):
    """Where boards find the cloud. ``host`` is what is written into them; the gateways listen there too."""

    host: str
    tcp_port: int = Field(default=5683, ge=0, le=65534)
    udp_port: int = Field(default=5684, ge=0, le=65534)
    http_port: int = Field(default=0, ge=0, le=65535)


class NetworkTable(_Table):
    """``service``: a network service commands the firewall, at ``socket`` or where ``HIL_NETWORK`` says."""

    kind: Literal["service", "none"] = "none"
    socket: Path | None = None


class FirmwareTable(_Table):
    """Where built images lie: ``<directory>/<app>@<version>/<platform>.bin``."""

    directory: Path = Path(".hil/images")


class TimingTable(_Table):
    """Waits of this bench, in seconds.

    ``offline_for``: how long a board that cannot reach the cloud is watched before it counts as kept away; longer
    than a board of the bench needs to come online. ``settle``: how long a flashed board must stay in one mode.
    """

    offline_for: float = Field(default=20.0, gt=0)
    settle: float = Field(default=0.5, ge=0)


class NoPowerTable(_Table):
    """The board cannot be switched."""

    kind: Literal["none"] = "none"


class UhubctlTable(_Table):
    """A hub that switches its ports. ``hub`` and ``port`` as uhubctl names them (``-l`` and ``-p``)."""

    kind: Literal["uhubctl"]
    hub: str
    port: int = Field(ge=1)


class TasmotaTable(_Table):
    """A plug with Tasmota firmware behind an MQTT broker. ``relay`` 1 to n for plugs with several."""

    kind: Literal["tasmota"]
    broker: str
    port: int = 1883
    topic: str
    relay: int | None = Field(default=None, ge=1)
    username: str | None = None
    password_file: Path | None = None


class CommandTable(_Table):
    """Any switch that has a command. ``on`` and ``off`` are programs with arguments; ``{port}`` is the slot's port."""

    kind: Literal["command"]
    on: tuple[str, ...] = Field(min_length=1)
    off: tuple[str, ...] = Field(min_length=1)


PowerTable = Annotated[NoPowerTable | UhubctlTable | TasmotaTable | CommandTable, Field(discriminator="kind")]


class DebuggerTable(_Table):
    """The debugger wired to the board, for the bench's own notes and boot logs on ``Serial1``."""

    serial: str
    kind: Literal["cmsis-dap", "jlink", "stlink"] = "cmsis-dap"


class SlotTable(_Table):
    """One place of the rig and the board that belongs there.

    ``port`` is the USB port path, ``variant`` what USB cannot tell (``"E Series"``), ``features`` free words that
    tests ask for, ``address`` the board's IPv4 address if it is known.
    """

    name: str = Field(min_length=1)
    port: str
    platform: str
    device_id: str | None = None
    device_os: str
    variant: str | None = None
    address: str | None = None
    features: tuple[str, ...] = ()
    power: PowerTable = NoPowerTable()
    debugger: DebuggerTable | None = None

    @field_validator("port")
    @classmethod
    def _port(cls, value: str) -> str:
        if not re.fullmatch(r"\d+-\d+(\.\d+)*", value):
            raise ValueError('a USB port path such as "1-1.4" is expected; `hil boards` shows them')
        return value

    @field_validator("platform")
    @classmethod
    def _platform(cls, value: str) -> str:
        names = [platform.name for platform in PLATFORMS]
        if value not in names:
            raise ValueError(f"one of {', '.join(names)} is expected{_suggest(value, names)}")
        return value

    @field_validator("device_id")
    @classmethod
    def _device_id(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{24}", value):
            raise ValueError("24 hex digits in lower case are expected")
        return value

    @field_validator("device_os")
    @classmethod
    def _device_os(cls, value: str) -> str:
        if not re.fullmatch(r"\d+\.\d+\.\d+(-[a-z]+\.\d+)?", value):
            raise ValueError('a Device OS release such as "6.2.0" is expected')
        return value

    @property
    def board_platform(self) -> Platform:
        """The platform as an object."""
        return by_name(self.platform)


class RigFile(_Table):
    """A whole rig file."""

    name: str
    cloud: CloudTable
    network: NetworkTable = NetworkTable()
    firmware: FirmwareTable = FirmwareTable()
    timing: TimingTable = TimingTable()
    slots: tuple[SlotTable, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> RigFile:
        for what in ("name", "port", "device_id"):
            counts = Counter(getattr(slot, what) for slot in self.slots)
            twice = [value for value, count in counts.items() if value is not None and count > 1]
            if twice:
                raise ValueError(f"two slots have the {what} {twice[0]!r}")
        return self


def load_rig(path: Path) -> RigFile:
    """The rig file at ``path``. Raises ``UsageError`` that names every mistake in it."""
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise UsageError(
            f"no rig file {path}",
            hint="run it in the project's directory, or name one with --rig or HIL_RIG; examples are in rigs/",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"rig file {path} is not TOML", found=str(error)) from error
    values.pop("virtual", None)
    try:
        return RigFile.model_validate(values)
    except ValidationError as error:
        details = [each for each in error.errors() if each["type"] != "too_short"] or error.errors()
        mistakes = "\n    ".join(_mistake(detail) for detail in details)
        raise UsageError(f"rig file {path} is wrong", found=f"\n    {mistakes}") from error


def find_rig(given: Path | None = None) -> Path:
    """The rig file to use: the given one, else the one in ``HIL_RIG``, else ``rigs/virtual.toml``."""
    if given is not None:
        return given
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else DEFAULT_RIG


def _mistake(detail: ErrorDetails) -> str:
    """One line: where, what, and the key that was probably meant."""
    place = _place(detail["loc"])
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        known = _known_keys(detail["loc"][:-1])
        return f"{place}: no such key{_suggest(key, known)}; known: {', '.join(known)}"
    return f"{place or 'file'}: {detail['msg'].removeprefix('Value error, ')}"


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys of the table at ``location``; numbers and the names of union members are steps without a table."""
    tables: dict[str, type[BaseModel]] = {
        "cloud": CloudTable,
        "network": NetworkTable,
        "firmware": FirmwareTable,
        "timing": TimingTable,
        "slots": SlotTable,
        "debugger": DebuggerTable,
        "none": NoPowerTable,
        "uhubctl": UhubctlTable,
        "tasmota": TasmotaTable,
        "command": CommandTable,
    }
    named: list[Any] = [tables[part] for part in location if isinstance(part, str) and part in tables]
    model: type[BaseModel] = named[-1] if named else RigFile
    return list(model.model_fields)


def _suggest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f", did you mean {close[0]!r}?" if close else ""
