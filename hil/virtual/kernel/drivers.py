"""``/sys/bus/usb``: which drivers there are, and what writing to their files and to those of the bus does.

Rules of drivers/base/bus.c and drivers/usb/core/driver.c in Linux.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from hil.virtual.kernel import cdcacm
from hil.virtual.kernel.control import Control, number
from hil.virtual.kernel.enumerated import Enumerated, Policy, Step
from hil.virtual.kernel.sysfs import Sysfs
from hil.virtual.kernel.usbnodes import Node

DEVICE_DRIVER = "usb"
INTERFACE_DRIVERS = (cdcacm.DRIVER, "hub", "usbfs")


class Devices(Protocol):
    """The bus as its drivers see it."""

    @property
    def lock(self) -> threading.RLock: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def root_hub_nodes(self) -> Iterable[Node]:
        """The hub and its interface, which keep their drivers."""

    def enumerated(self) -> list[Enumerated]:
        """The devices on the bus."""

    def change(self, known: Enumerated, action: Callable[[], list[Step]]) -> None:
        """Runs ``action`` on a device with the lock held and sends its events."""


class UsbDrivers:
    """The files of the bus and its drivers."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._ids: dict[str, list[tuple[int, ...]]] = {name: [] for name in INTERFACE_DRIVERS}

    def show(self, sysfs: Sysfs) -> None:
        """Makes them visible."""
        policy = self._devices.policy
        sysfs.add_bus_files(
            ".",
            {
                "drivers_probe": Control(self._probe),
                "drivers_autoprobe": Control(self._autoprobe, lambda: f"{int(policy.autoprobe)}\n"),
            },
        )
        for name in (DEVICE_DRIVER, *INTERFACE_DRIVERS):
            sysfs.add_bus_files(f"drivers/{name}", self._files_of(name))

    def _files_of(self, driver: str) -> dict[str, Control]:
        found = {
            "bind": Control(lambda text: self._bind(driver, text)),
            "unbind": Control(lambda text: self._unbind(driver, text)),
        }
        if driver == DEVICE_DRIVER:
            return found
        ids = Control(lambda text: self._new_id(driver, text), lambda: self._listed(driver))
        return {
            **found,
            "new_id": ids,
            "remove_id": Control(lambda text: self._remove_id(driver, text), ids.read),
        }

    # The bus.

    def _autoprobe(self, text: str) -> None:
        self._devices.policy.autoprobe = not text.startswith("0")

    def _probe(self, text: str) -> None:
        node, known = self._find(text)
        if known is not None and node.driver is None:
            self._devices.change(known, lambda: self._attach(known, node))

    # Drivers.

    def _bind(self, driver: str, text: str) -> None:
        node, known = self._find(text)
        if known is None or not self._matches(driver, node, known):
            raise OSError(errno.ENODEV, f"{driver} does not drive {text}")
        if node.driver is not None:
            raise OSError(errno.EBUSY, f"{text} has a driver")

        def bind() -> list[Step]:
            steps = self._attach(known, node)
            if not steps:
                raise OSError(errno.ENODEV, f"{driver} does not take {text}")
            return steps

        self._devices.change(known, bind)

    def _unbind(self, driver: str, text: str) -> None:
        node, known = self._find(text)
        if node.driver != driver:
            raise OSError(errno.ENODEV, f"{text} is not bound to {driver}")
        if known is None:
            raise OSError(errno.EPERM, "the bus of a rack goes with its hub")

        def unbind() -> list[Step]:
            return known.unbind() if node is known.node else known.release(_interface(known, node))

        self._devices.change(known, unbind)

    @staticmethod
    def _attach(known: Enumerated, node: Node) -> list[Step]:
        if node is known.node:
            return known.bind()
        return known.probe(_interface(known, node))

    @staticmethod
    def _matches(driver: str, node: Node, known: Enumerated) -> bool:
        if node is known.node:
            return driver == DEVICE_DRIVER
        return driver == cdcacm.DRIVER and bool(node.driven)

    # Identifiers that somebody added; cdc_acm still takes what is a serial function only.

    def _new_id(self, driver: str, text: str) -> None:
        numbers = _numbers(text)
        self._ids[driver].append(numbers)
        if driver != cdcacm.DRIVER:
            return
        for known in self._devices.enumerated():
            if numbers[:2] == _ids_of(known):
                self._devices.change(known, known.probe_all)

    def _remove_id(self, driver: str, text: str) -> None:
        numbers = _numbers(text)[:2]
        self._ids[driver] = [one for one in self._ids[driver] if one[:2] != numbers]

    def _listed(self, driver: str) -> str:
        return "".join(" ".join(f"{one:04x}" for one in numbers[:2]) + "\n" for numbers in self._ids[driver])

    def _find(self, name: str) -> tuple[Node, Enumerated | None]:
        """The node called ``name``; ``None`` with those of the root hub. Raises ``OSError`` ENODEV."""
        with self._devices.lock:
            for known in self._devices.enumerated():
                for node in (known.node, *known.interfaces.values()):
                    if node.name == name:
                        return node, known
        for node in self._devices.root_hub_nodes:
            if node.name == name:
                return node, None
        raise OSError(errno.ENODEV, f"no {name}")


def _interface(known: Enumerated, node: Node) -> int:
    return next(interface for interface, one in known.interfaces.items() if one is node)


def _numbers(text: str) -> tuple[int, ...]:
    """Vendor, product and what follows, in hexadecimal. Raises ``OSError`` EINVAL."""
    words = text.split()
    if not 2 <= len(words) <= 5:
        raise OSError(errno.EINVAL, "vendor and product, in hexadecimal")
    return tuple(number(word, 16) for word in words)


def _ids_of(known: Enumerated) -> tuple[int, int]:
    data = known.device.device_descriptor
    return int.from_bytes(data[8:10], "little"), int.from_bytes(data[10:12], "little")
