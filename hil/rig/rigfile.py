"""Rig files: what a rig has. The one parser and model, for the launcher of the virtual rack, the pool and the plugin.

TOML, checked as a whole: every mistake is named at once with its line and, for a misspelt key, the key that was
probably meant.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, PrivateAttr, ValidationError

from hil import resources
from hil.device.platforms import Platform
from hil.errors import UsageError
from hil.rig.mistakes import Mistake, Table, mistakes_of, report
from hil.rig.project import Project, find_project
from hil.rig.rigchecks import RackLimits, cross_checks
from hil.rig.tables import (
    CloudTable,
    CommandTable,
    FirmwareTable,
    NetworkTable,
    NoPowerTable,
    PowerTable,
    SlotTable,
    TasmotaTable,
    TimingTable,
    UhubctlTable,
    VirtualTable,
    from_root,
)
from hil.rig.tomllines import TomlLines

__all__ = [
    "ENVIRONMENT",
    "CloudTable",
    "CommandTable",
    "FirmwareTable",
    "NetworkTable",
    "NoPowerTable",
    "PlannedBoard",
    "PowerTable",
    "RackLimits",
    "RigFile",
    "SlotTable",
    "TasmotaTable",
    "TimingTable",
    "UhubctlTable",
    "VirtualTable",
    "find_rig",
    "load_rig",
]

ENVIRONMENT = "HIL_RIG"


@dataclass(frozen=True, slots=True)
class PlannedBoard:
    """One board of the virtual rack. ``slot`` is the rig's name for the place."""

    slot: str
    port: str
    platform: Platform
    device_os: str
    device_id: str


class RigFile(Table):
    """A whole rig file."""

    name: str
    cloud: CloudTable
    network: NetworkTable = NetworkTable()
    firmware: FirmwareTable = FirmwareTable()
    timing: TimingTable = TimingTable()
    slots: tuple[SlotTable, ...] = Field(min_length=1)
    virtual: VirtualTable | None = None

    _file: Path | None = PrivateAttr(default=None)
    _project: Project | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """Where it was read from, absolute; ``None`` for a rig that was made in code."""
        return self._file

    @property
    def project(self) -> Project:
        """The project that the rig file lies in.

        The rig that comes with ``hil`` lies in nobody's: it belongs to the project around the working directory, and
        so does a rig made in code.
        """
        return self._project or find_project()

    def path(self, relative: Path | str) -> Path:
        """``relative`` (the template of an image, say) from the root of the rig's project, as an absolute path."""
        return self.project.root / relative

    @property
    def applications(self) -> tuple[Path, ...]:
        """Folders with twins (``<app>/twin.py``), to be searched in this order: the rig's, then its project's."""
        return tuple(dict.fromkeys((*self.firmware.applications, *self.project.applications)))

    @property
    def boards(self) -> tuple[PlannedBoard, ...]:
        """The boards of the virtual rack: those of ``[virtual]``, else those of the slots.

        Each has the name of the slot at its port. Sound for the rack if the file was loaded with its ``RackLimits``.
        """
        names = {slot.port: slot.name for slot in self.slots}
        listed = self.slots if self.virtual is None else self.virtual.boards
        return tuple(
            PlannedBoard(
                names.get(board.port) or f"virtual-{number}",
                board.port,
                board.board_platform,
                board.device_os,
                board.device_id or "",
            )
            for number, board in enumerate(listed, start=1)
        )


def load_rig(path: Path, rack: RackLimits | None = None) -> RigFile:
    """The rig file at ``path``; with ``rack``, one whose boards the virtual rack can be.

    Raises ``UsageError`` that names every mistake in it, each with its line.
    """
    text = _read(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"rig file {path} is not TOML", found=str(error)) from error
    file = path.resolve()
    # The rig that comes with hil lies in nobody's project: it belongs to the one around the working directory.
    project = find_project(None if file == resources.virtual_rig().resolve() else file.parent)
    mistakes: list[Mistake] = []
    try:
        rig = RigFile.model_validate({"firmware": {}, **values}, context=from_root(project.root))
    except ValidationError as error:
        mistakes = mistakes_of(error, RigFile)
    mistakes += cross_checks(values, rack)
    if mistakes:
        raise UsageError(
            f"rig file {path} is wrong",
            found=report(path, TomlLines(text), mistakes),
            hint="" if rack is None else f"correct it, or name another rig with --rig or {ENVIRONMENT}",
        )
    rig._file, rig._project = file, project
    return rig


def find_rig(given: Path | None = None, project: Project | None = None) -> Path:
    """The rig file to use: the given one, else the one in ``HIL_RIG``, else the one that the project names, else the
    virtual rack that comes with ``hil``. ``project`` is by default the one around the working directory.
    """
    if given is not None:
        return given
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    return (project or find_project()).rig or resources.virtual_rig()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise UsageError(
            f"no rig file {path}",
            hint=f"name one with --rig, {ENVIRONMENT} or [tool.hil] rig in pyproject.toml; "
            f"examples are in {resources.folder('rigs')}",
        ) from None
    except IsADirectoryError:
        inside = ", ".join(sorted(each.name for each in path.glob("*.toml"))) or "no *.toml"
        raise UsageError(f"rig file {path} is a directory", found=f"in it: {inside}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"rig file {path} is not TOML", found=str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot read rig file {path}", found=str(error.strerror)) from error
