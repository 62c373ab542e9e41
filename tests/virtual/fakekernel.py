"""The virtual kernel without namespaces: ports, udev and the order of events, kept instead of sent."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hil.virtual.kernel.enumerated import Policy, Step
from hil.virtual.kernel.port import Port
from hil.virtual.kernel.timing import AT_ONCE, Timing
from hil.virtual.kernel.udevd import Udevd
from hil.virtual.kernel.uevents import Uevent
from hil.virtual.kernel.usbnodes import Controller, Node


class Ignore:
    """Takes every call."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments, **_keywords: None


class FakeSysfs(Ignore):
    def bind(self, node: Any, driver: str | None) -> None:
        node.driver = driver


class FakeKernel:
    """Keeps what is announced: ``kernel_order`` as the kernel sends it, ``udev_order`` as udev does, in pairs of
    event and properties. Time passes by ``pauses`` alone; what is due later waits in ``later``.
    """

    def __init__(
        self,
        controller: Controller | None = None,
        *,
        tty: int = 0,
        timing: Timing = AT_ONCE,
    ) -> None:
        self.lock = threading.RLock()
        self.timing = timing
        self.policy = Policy()
        self.controller = controller or Controller()
        self.sysfs = FakeSysfs()
        self.usbfs = Ignore()
        self.tty_numbers = [tty]
        self.ttys = SimpleNamespace(create=self._create_tty, remove=lambda _tty: None)
        self.kernel_order: list[dict[str, str]] = []
        self.udev_order: list[dict[str, str]] = []
        self.pauses: list[float] = []
        self.later: list[Port] = []
        self._udevd = Udevd(Ignore(), self._keep_udev)
        self.devnums = list(range(2, 128))
        self._seqnum = 1038

    def _create_tty(self, _face: object) -> object:
        number = self.tty_numbers.pop() if len(self.tty_numbers) > 1 else self.tty_numbers[0]
        return SimpleNamespace(
            path=Path(f"/dev/ttyACM{number}"),
            device_number=(166, number),
            show=lambda: None,
            cut=lambda: None,
        )

    def _keep_udev(self, event: Uevent, seqnum: int) -> None:
        self.udev_order.append(event.udev_properties(seqnum))

    def next_devnum(self) -> int:
        return self.devnums.pop(0)

    def free_devnum(self, number: int) -> None:
        pass

    def announce(self, steps: list[Step]) -> None:
        first = self._seqnum
        self._seqnum += len(steps)
        self.kernel_order += [
            step.event.kernel_properties(number) for number, step in enumerate(steps, start=first)
        ]
        self._udevd.handle(first, steps)

    def changed(self, port: Port, delay: float = 0.0) -> None:
        if self.timing.is_real:
            self.later.append(port)
        else:
            assert delay == 0.0
            port.look()

    def show_device(self, path: str, node: Node | None) -> None:
        pass

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
