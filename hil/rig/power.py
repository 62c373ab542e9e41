"""Switching a board's power: nothing, a hub with uhubctl, a command, or a plug (``tasmota.py``).

USB fact sheet 9.2 and 9.3. Cutting VBUS does not cut power from a board with a battery or with VIN.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from hil.errors import UsageError
from hil.rig.programs import find_program
from hil.rig.rigfile import CommandTable, NoPowerTable, SlotTable, UhubctlTable
from hil.rig.switchfailed import SwitchFailed

OFF_FOR = 2.0  # seconds without power that a power cycle lasts

_PORT_STATE = re.compile(r"^\s*Port (\d+): [0-9a-f]{4}( off| power)?", re.MULTILINE)


class PowerSwitch(Protocol):
    """The power of one board. Each method returns when the switch has confirmed; raises ``SwitchFailed`` otherwise."""

    @property
    def available(self) -> bool:
        """Whether there is a switch at all."""

    def on(self) -> None:
        """Switch on."""

    def off(self) -> None:
        """Switch off."""


class NoPower:
    """A board whose power nobody can switch."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def available(self) -> bool:
        return False

    def on(self) -> None:
        raise self._error()

    def off(self) -> None:
        raise self._error()

    def _error(self) -> UsageError:
        return UsageError(
            f"slot {self._name} has no power switch",
            expected='a [slots.power] table of kind "uhubctl", "tasmota" or "command" in the rig file',
        )


class BoardPower:
    """The switch of one board, and what switching means for it.

    ``before`` is called each time the switch is used: a board without power has left the cloud. ``after_off`` waits
    until USB has noticed, so that nobody takes the board that was for the one that comes.
    """

    def __init__(
        self,
        switch: PowerSwitch,
        before: Callable[[], None] = lambda: None,
        after_off: Callable[[], object] = lambda: None,
    ) -> None:
        self.switch = switch
        self._before = before
        self._after_off = after_off
        self._dark = False

    @property
    def available(self) -> bool:
        return self.switch.available

    def on(self) -> None:
        self._before()
        self.switch.on()
        self._dark = False

    def off(self) -> None:
        self._before()
        self._dark = self.available  # from here on: a command that broke off may have done its work
        self.switch.off()
        self._after_off()

    def restore(self) -> None:
        """Switch on what was switched off here and left so."""
        if self._dark:
            surely_on(self)


def run_uhubctl(arguments: list[str]) -> str:
    """What ``uhubctl`` prints. Raises ``SwitchFailed`` if it is missing or fails."""
    program = find_program("uhubctl")
    if program is None:
        raise SwitchFailed("uhubctl is not installed", hint="sudo apt-get install uhubctl")
    try:
        done = _run([program, *arguments], 30)
    except subprocess.TimeoutExpired as error:
        raise SwitchFailed("uhubctl took too long", hint="is the hub still there?") from error
    if done.returncode:
        raise SwitchFailed(
            f"uhubctl {' '.join(arguments)} failed",
            found=(done.stderr or done.stdout).strip(),
            hint="only hubs with real per-port switching work; permissions: `hil doctor`",
        )
    return done.stdout


class UhubctlPower:
    """A port of a hub that switches VBUS."""

    def __init__(self, hub: str, port: int, run: Callable[[list[str]], str] = run_uhubctl) -> None:
        self._hub = hub
        self._port = port
        self._run = run

    @property
    def available(self) -> bool:
        return True

    def on(self) -> None:
        self._switch("on")

    def off(self) -> None:
        self._switch("off")

    def _switch(self, action: str) -> None:
        output = self._run(["-l", self._hub, "-p", str(self._port), "-a", action])
        states = [state.strip() for number, state in _PORT_STATE.findall(output) if int(number) == self._port]
        wanted = "power" if action == "on" else "off"
        if not states or states[-1] != wanted:
            raise SwitchFailed(
                f"hub {self._hub} did not switch port {self._port} {action}",
                expected=f"port state {wanted!r}",
                found=states[-1] if states else output.strip() or "no output",
            )


class CommandPower:
    """A switch that has a command of its own, such as a relay's. Its exit status is its confirmation."""

    def __init__(self, name: str, on: Sequence[str], off: Sequence[str]) -> None:
        self._name = name
        self._commands = {"on": list(on), "off": list(off)}

    @property
    def available(self) -> bool:
        return True

    def on(self) -> None:
        self._run("on")

    def off(self) -> None:
        self._run("off")

    def _run(self, action: str) -> None:
        words = self._commands[action]
        # The harness's own command is found beside the interpreter, also in an environment that is not activated.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        program = shutil.which(words[0], path=path)
        if program is None:
            raise SwitchFailed(f"cannot switch {self._name} {action}", found=f"no program {words[0]!r}")
        try:
            done = _run([program, *words[1:]], 60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SwitchFailed(f"cannot switch {self._name} {action}", found=str(error)) from error
        if done.returncode:
            raise SwitchFailed(
                f"cannot switch {self._name} {action}",
                expected=f"exit status 0 of {' '.join(words)}",
                found=f"{done.returncode}: {(done.stderr or done.stdout).strip()}",
            )


def cycle(
    switch: PowerSwitch, off_for: float | None = None, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Off, wait ``off_for`` seconds (two unless told), on: also when something breaks it off, Ctrl-C for one."""
    try:
        switch.off()
        sleep(OFF_FOR if off_for is None else off_for)
    finally:
        surely_on(switch)


def surely_on(switch: PowerSwitch) -> None:
    """Switch on; an interrupt meanwhile is heard when that is done."""
    try:
        switch.on()
    except KeyboardInterrupt:
        switch.on()
        raise


def _run(words: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a switch's command, out of reach of the terminal's Ctrl-C: half a switching helps nobody."""
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        process_group=0,
        check=False,
    )


def power_for(slot: SlotTable) -> PowerSwitch:
    """The power switch that the rig file gives ``slot``."""
    table = slot.power
    if isinstance(table, NoPowerTable):
        return NoPower(slot.name)
    if isinstance(table, UhubctlTable):
        return UhubctlPower(table.hub, table.port)
    if isinstance(table, CommandTable):
        return CommandPower(slot.name, _for_slot(table.on, slot), _for_slot(table.off, slot))
    from hil.rig.tasmota import TasmotaPower  # MQTT only where a plug is used

    return TasmotaPower(table)


def _for_slot(words: Sequence[str], slot: SlotTable) -> list[str]:
    return [word.replace("{port}", slot.port) for word in words]
