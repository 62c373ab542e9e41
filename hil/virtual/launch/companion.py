"""A program that runs in a rack beside the command, such as a cloud: in a session of its own, out of reach of keys."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hil.virtual.launch import vexec
from hil.virtual.launch.rackprocess import RackFailed, RackHandle

READY = "--ready"
_LARGEST = 65536  # bytes of what a companion says


@dataclass(frozen=True, slots=True)
class Companion:
    """``command`` says that it is ready by writing variables for the real command, as JSON, to descriptor ``--ready``.

    It inherits the descriptors ``keep``.
    """

    command: Sequence[str]
    keep: Sequence[int] = ()

    def start(self, handle: RackHandle) -> Mapping[str, str]:
        """Start it in the rack and wait until it is ready. Raises ``RackFailed`` when it ends instead."""
        ours, theirs = os.pipe()
        launcher = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 0)
            handle.control.close()
            keep_open([*self.keep, theirs])
            vexec.become(handle.base, [*self.command, READY, str(theirs)], launcher)
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe:
            said = pipe.read(_LARGEST)
        if not said:
            raise RackFailed("the cloud beside the command did not start", hint="its messages are above")
        variables: dict[str, str] = json.loads(said)
        return variables


def keep_open(descriptors: Sequence[int]) -> None:
    """Let the program that this process becomes have ``descriptors``."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)


def say_ready(descriptor: int, variables: Mapping[str, str]) -> None:
    """What a companion does once it is ready."""
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(json.dumps(variables).encode())
