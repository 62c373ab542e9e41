"""Puts a rack together inside its namespaces: network, kernel, boards, and what commands network and power."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from hil.clock.types import CLOCK_VARIABLE
from hil.rig.rigfile import ENVIRONMENT, PlannedBoard, RigFile
from hil.virtual.app.library import ApplicationLibrary
from hil.virtual.kernel.kernel import VirtualKernel
from hil.virtual.kernel.timing import REAL
from hil.virtual.launch.powerstrip import VARIABLE as POWER_VARIABLE
from hil.virtual.launch.powerstrip import PowerStrip

if TYPE_CHECKING:
    from hil.clock import Clock
    from hil.netlab.topology import Lab
    from hil.virtual.cloudclient.link import BoardNetwork
    from hil.virtual.deviceos.board import VirtualBoard
    from hil.virtual.launch.rackprocess import Compose


def board_rack(
    rig: RigFile,
    state: Path,
    mode: str = "normal",
    notices: socket.socket | None = None,
    *,
    movable_clock: bool = False,
    fast: bool = False,
) -> Compose:
    """What ``rackprocess.start`` composes for the boards of ``rig``; the flash of each persists below ``state``.

    ``mode`` is how the boards start: ``normal``, ``dfu``, ``listening`` or ``safe``. Which cloud each of them dials is
    said on ``notices`` (:mod:`hil.virtual.launch.dialling`). With ``movable_clock`` boards and network are on a clock
    that can be moved, and what runs in the rack follows it. Plugging takes a real kernel's time unless ``fast``.
    """

    @contextlib.contextmanager
    def compose(kernel: VirtualKernel) -> Iterator[Mapping[str, str]]:
        with ExitStack() as stack:
            clock, also = _clock(stack, kernel.base) if movable_clock else (None, {})
            # The network first: its helper programs must not inherit the kernel's descriptors.
            service, lab = _network(stack, kernel.base, rig, clock)
            kernel.start(board.port for board in rig.boards)
            stack.callback(kernel.close)
            library = ApplicationLibrary(rig.applications)
            boards = {
                planned.port: _plug_in(
                    stack, kernel, _radio(lab, planned, notices), planned, state, mode, library, clock
                )
                for planned in rig.boards
            }
            plugs = kernel.base / "power.sock"
            strip = PowerStrip(plugs, boards)
            stack.callback(strip.close)
            if not fast:
                kernel.take_time(REAL)  # the boards were on the bus before the command comes
            yield {
                ENVIRONMENT: str(rig.file),
                "HIL_NETWORK": str(service),
                POWER_VARIABLE: str(plugs),
                **also,
            }

    return compose


def _clock(stack: ExitStack, base: Path) -> tuple[Clock, Mapping[str, str]]:
    """A clock that the rack leads, and the variable that tells others to follow it."""
    from hil.clock.server import leading

    path = base / "clock.sock"
    return stack.enter_context(leading(path)), {CLOCK_VARIABLE: str(path)}


def _network(stack: ExitStack, base: Path, rig: RigFile, clock: Clock | None) -> tuple[Path, Lab]:
    from hil.netlab.service import NetworkService
    from hil.netlab.topology import Lab

    lab = Lab()
    stack.callback(lab.close)
    lab.create([board.slot for board in rig.boards])
    path = base / "network.sock"
    service = NetworkService.for_lab(lab, path, clock)
    stack.callback(service.close)
    return path, lab


def _radio(lab: Lab, planned: PlannedBoard, notices: socket.socket | None) -> BoardNetwork:
    network = lab.board_network(planned.slot)
    if notices is None:
        return network
    from hil.virtual.launch.dialling import NoticedNetwork

    return NoticedNetwork(network, planned.slot, planned.device_id, notices)


def _plug_in(
    stack: ExitStack,
    kernel: VirtualKernel,
    network: BoardNetwork,
    planned: PlannedBoard,
    state: Path,
    mode: str,
    library: ApplicationLibrary,
    clock: Clock | None,
) -> VirtualBoard:
    from hil.virtual.deviceos.board import BoardSpec, VirtualBoard
    from hil.virtual.hardware.memory import take_memory

    spec = BoardSpec(planned.slot, planned.port, planned.platform, planned.device_os, planned.device_id)
    memory = take_memory(state, planned.device_id, planned.platform, planned.device_os)
    for change in memory.changes:
        sys.stderr.write(f"hil rack: {planned.slot}: {change}\n")
    board = VirtualBoard(
        spec, kernel.port(planned.port), network, memory.directory, library=library, clock=clock
    )
    stack.callback(board.close)
    board.power_on(mode)
    return board
