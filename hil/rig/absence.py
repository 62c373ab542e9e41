"""Why a board does not come online: what was seen of it, put together into one error with what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil.device.requests import CloudState
from hil.errors import CloudError
from hil.rig.modes import Mode

_SHOWN = 10  # lines of each log

_NEVER_CONNECTS = (
    "Device OS does not even try: does the application call Particle.connect()? Under SYSTEM_MODE(MANUAL) and "
    "SEMI_AUTOMATIC nothing else does. A test that needs no cloud says @pytest.mark.offline"
)
_TRIES = (
    "Device OS tries: is the path to the cloud open, and do host and ports of [cloud] in the rig file lead there? "
    "`hil doctor` looks"
)
_BELIEVES = (
    "Device OS believes in a connection, but not to this cloud: does the application change its server?"
)
_NO_APPLICATION = "bring it back to normal mode: board.reset(), or the board's RESET button"
_SILENT = "look at both logs; is the board running at all? `hil boards` shows what USB sees"


@dataclass(frozen=True, slots=True)
class Absence:
    """What is known of a board that stays away for ``within`` seconds after a restart.

    ``mode`` and ``status`` are ``None`` where the board does not say. ``serial`` and ``cloud`` are the lines since
    then.
    """

    board: str
    application: str
    host: str
    within: float
    mode: Mode | None
    status: CloudState | None
    serial: Sequence[str]
    cloud: Sequence[str]


def explain(absence: Absence) -> CloudError:
    """The error that names board and application, what was seen and what to do."""
    return CloudError(
        f"{absence.board} does not come online with {absence.application}",
        expected=f"a session at {absence.host} within {absence.within:g} s of a restart",
        found="\n".join(_seen(absence)),
        hint=_hint(absence),
    )


def _seen(absence: Absence) -> list[str]:
    status = "connection unknown" if absence.status is None else absence.status.name.lower()
    mode = "does not say its mode" if absence.mode is None else f"is in {absence.mode} mode"
    return [
        f"the board {mode}; its Device OS says: {status}",
        *_tail("serial log", absence.serial),
        *_tail("cloud log", absence.cloud),
    ]


def _tail(name: str, lines: Sequence[str]) -> list[str]:
    shown = [line for line in lines if line.strip()][-_SHOWN:]
    if not shown:
        return [f"    {name}: nothing since the restart"]
    return [f"    {name}, its end:", *(f"      {line}" for line in shown)]


def _hint(absence: Absence) -> str:
    if absence.mode not in (None, Mode.NORMAL):
        return _NO_APPLICATION
    hints = {
        CloudState.DISCONNECTED: _NEVER_CONNECTS,
        CloudState.CONNECTING: _TRIES,
        CloudState.CONNECTED: _BELIEVES,
    }
    return _SILENT if absence.status is None else hints.get(absence.status, _SILENT)
