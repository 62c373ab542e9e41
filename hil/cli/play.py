"""``hil rack run --cloud`` on the host's side: a rack with a cloud in it that answers on this machine's loopback."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.cloud.gateways.listening import listener
from hil.errors import CloudError
from hil.rig.rigfile import RigFile
from hil.virtual.launch import composition, launcher
from hil.virtual.launch.companion import Companion

LOG = "log"
_FIRST_PORT, _PORTS = 8080, 20  # tried one after the other unless a port is asked for


@dataclass(frozen=True, slots=True)
class Play:
    """``state`` holds the boards' memory and the cloud's; ``port`` 0 stands for the first free one from 8080 on."""

    rig: RigFile
    state: Path
    mode: str
    port: int
    as_json: bool
    movable_clock: bool = False
    fast: bool = False

    @property
    def boards(self) -> Path:
        """Where the boards' flash memory is kept."""
        return self.state / "boards"

    def run(self, command: Sequence[str]) -> int:
        """Run ``command`` beside the cloud; without one, stay until Ctrl-C. Returns the exit status."""
        # In the network of this machine: the rack gets one of its own.
        with _listening(self.port) as http, _pair() as (notices, dials):
            keep = (http.fileno(), dials.fileno())
            rack = composition.board_rack(
                self.rig,
                self.boards,
                self.mode,
                notices,
                movable_clock=self.movable_clock,
                fast=self.fast,
            )
            player = self._player(*keep)
            if not command:
                return launcher.run(player, rack, keep=keep)
            player += ["--log", str(self.state / LOG)]
            return launcher.run(command, rack, companion=Companion(player, keep))

    def _player(self, http: int, dials: int) -> list[str]:
        command = [
            sys.executable,
            "-m",
            "hil.cli.player",
            "--rig",
            str(self.rig.file),
            "--state",
            str(self.state),
        ]
        command += ["--http", str(http), "--dials", str(dials)]
        return [*command, *(["--json"] if self.as_json else [])]


def _listening(port: int) -> socket.socket:
    """A listening socket on this machine's loopback."""
    if port:
        return listener("TCP", "127.0.0.1", port, "http_port")
    for candidate in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        with contextlib.suppress(CloudError):
            return listener("TCP", "127.0.0.1", candidate, "http_port")
    return listener("TCP", "127.0.0.1", 0, "http_port")


@contextlib.contextmanager
def _pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    # A sequence of packets: their reader sees it when the rack has ended.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs
