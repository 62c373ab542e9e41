"""Writes the rack's devices into its private /sys: what enumeration reads.

The tree is a tmpfs (``namespaces``); a directory is complete before the link that enumeration follows appears, and that
link goes first when a device leaves.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from hil.virtual.kernel.usbnodes import Controller, Node

_UEVENT_KEYS_LEFT_OUT = ("MAJOR", "MINOR")
_XHCI = {
    "class": "0x0c0330",
    "vendor": "0x8086",
    "device": "0xa0ed",
    "revision": "0x20",
    "irq": "0",
    "enable": "1",
}


class Sysfs:
    """The visible device tree. Not locked: its owner serialises changes."""

    def __init__(self, sys: Path = Path("/sys")) -> None:
        self._sys = sys

    def add_controller(self, controller: Controller) -> None:
        """The PCI device that the bus hangs on, with its driver: lsusb names the driver of a root hub by it."""
        directory = self._real(controller.devpath)
        directory.mkdir(parents=True)
        for name, text in _XHCI.items():
            (directory / name).write_text(f"{text}\n")
        (directory / "uevent").write_text(
            f"DRIVER=xhci_hcd\nPCI_CLASS=C0330\nPCI_ID=8086:A0ED\nPCI_SLOT_NAME={directory.name}\n"
        )
        self._link(directory / "subsystem", self._sys / "bus/pci")
        driver = self._sys / "bus/pci/drivers/xhci_hcd"
        driver.mkdir(parents=True, exist_ok=True)
        self._link(directory / "driver", driver)
        self._link(self._sys / "bus/pci/devices" / directory.name, directory)

    def add(self, node: Node) -> None:
        """Makes ``node`` visible."""
        directory = self._real(node.devpath)
        directory.mkdir(parents=True)
        for name, content in node.attributes.items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        self._link(directory / "subsystem", self._subsystem(node))
        if node.subsystem == "tty":
            self._link(directory / "device", directory.parent.parent)
        self._write_uevent(node)
        for link in self._entrances(node):
            link.parent.mkdir(parents=True, exist_ok=True)
            self._link(link, directory)
        for link in self._numbered(node):
            link.unlink(missing_ok=True)
            self._link(link, Path(node.kernel["DEVNAME"]))

    def remove(self, node: Node) -> None:
        """Takes ``node`` away; children have gone before."""
        for link in [*self._entrances(node), *self._numbered(node)]:
            link.unlink(missing_ok=True)
        self._unbind_links(node)
        directory = self._real(node.devpath)
        shutil.rmtree(directory)
        if node.subsystem == "tty":
            with contextlib.suppress(OSError):
                directory.parent.rmdir()

    def bind(self, node: Node, driver: str | None) -> None:
        """Shows ``driver`` as bound to ``node``, or none."""
        self._unbind_links(node)
        node.driver = driver
        if driver:
            place = self._sys / "bus/usb/drivers" / driver
            place.mkdir(parents=True, exist_ok=True)
            directory = self._real(node.devpath)
            self._link(directory / "driver", place)
            self._link(place / node.name, directory)
        self._write_uevent(node)

    def _unbind_links(self, node: Node) -> None:
        if node.driver:
            (self._real(node.devpath) / "driver").unlink(missing_ok=True)
            (self._sys / "bus/usb/drivers" / node.driver / node.name).unlink(missing_ok=True)

    def _write_uevent(self, node: Node) -> None:
        lines = {}
        if node.device_number:
            lines = {"MAJOR": str(node.device_number[0]), "MINOR": str(node.device_number[1])}
        for key, value in node.event("add", driver=node.driver).kernel.items():
            if key not in _UEVENT_KEYS_LEFT_OUT:
                lines[key] = value.removeprefix("/dev/")
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        (self._real(node.devpath) / "uevent").write_text(text)

    def _entrances(self, node: Node) -> list[Path]:
        """The links by which enumeration finds ``node``."""
        found = []
        if node.device_number:
            found.append(self._sys / f"dev/char/{node.device_number[0]}:{node.device_number[1]}")
        if node.subsystem == "usb":
            return [*found, self._sys / "bus/usb/devices" / node.name]
        return [*found, self._sys / "class" / node.subsystem / node.name]

    @staticmethod
    def _numbered(node: Node) -> list[Path]:
        """The link in /dev/char, by the number that sysfs says."""
        number = node.device_number
        return [Path(f"/dev/char/{number[0]}:{number[1]}")] if number and "DEVNAME" in node.kernel else []

    def _subsystem(self, node: Node) -> Path:
        return self._sys / ("bus/usb" if node.subsystem == "usb" else f"class/{node.subsystem}")

    def _real(self, devpath: str) -> Path:
        return self._sys / devpath.lstrip("/")

    def _link(self, link: Path, target: Path) -> None:
        link.symlink_to(os.path.relpath(target, link.parent))
