"""Writes the rack's devices into its private /sys: what enumeration reads, and the files that can be written.

The tree is a tmpfs (``namespaces``); a directory is complete before the link that enumeration follows appears, and that
link goes first when a device leaves. A file has the mode that Linux gives it; one whose writes mean something is a
``Control``, bound over its place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from hil.virtual.kernel import usbattributes, usbnodes
from hil.virtual.kernel.attributefiles import AttributeFiles
from hil.virtual.kernel.control import Control
from hil.virtual.kernel.usbnodes import Node

_UEVENT_KEYS_LEFT_OUT = ("MAJOR", "MINOR")
_BUSES = ("usb", "pci")


class Sysfs:
    """The visible device tree. Not locked: its owner serialises changes.

    ``reannounce`` is called with a node and what somebody wrote to its ``uevent``.
    """

    def __init__(
        self, files: AttributeFiles, reannounce: Callable[[Node, str], None], sys: Path = Path("/sys")
    ) -> None:
        self._files = files
        self._reannounce = reannounce
        self._sys = sys

    def add(self, node: Node) -> None:
        """Makes ``node`` visible."""
        directory = self._real(node.devpath)
        directory.mkdir(parents=True)
        for name, content in node.attributes.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(usbattributes.mode_of(name))
        for name, control in self._controls(node).items():
            self._files.show(directory / name, control)
        if node.subsystem:
            self._link(directory / "subsystem", self._subsystem(node))
        if node.subsystem == "tty":
            self._link(directory / "device", directory.parent.parent)
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
        self._unbind(node)
        directory = self._real(node.devpath)
        self._files.hide_below(directory)
        shutil.rmtree(directory)
        if node.subsystem == "tty":
            with contextlib.suppress(OSError):
                directory.parent.rmdir()

    def bind(self, node: Node, driver: str | None) -> None:
        """Shows ``driver`` as bound to ``node``, or none."""
        self._unbind(node)
        node.driver = driver
        if driver is None:
            return
        place = self._sys / f"bus/{node.subsystem}/drivers" / driver
        place.mkdir(parents=True, exist_ok=True)
        directory = self._real(node.devpath)
        if driver == "cdc_acm":
            self._rewrite(directory, node.driven)
        self._link(directory / "driver", place)
        self._link(place / node.name, directory)

    def rewrite(self, node: Node, files: Mapping[str, bytes]) -> None:
        """Files of ``node`` say something else now."""
        self._rewrite(self._real(node.devpath), files)

    def link(self, node: Node, name: str, target: Node | None) -> None:
        """``name`` in the directory of ``node`` leads to that of ``target``, or is not there."""
        link = self._real(node.devpath) / name
        link.unlink(missing_ok=True)
        if target is not None:
            self._link(link, self._real(target.devpath))

    def add_bus_files(self, directory: str, controls: Mapping[str, Control]) -> None:
        """Files of the bus itself or of a driver; ``directory`` is below ``bus/usb``."""
        place = self._sys / "bus/usb" / directory
        place.mkdir(parents=True, exist_ok=True)
        for name, control in controls.items():
            self._files.show(place / name, control)

    def network_nodes(self) -> list[Node]:
        """The network's interfaces, which are the real sysfs's; asked to announce themselves, they do it like ours."""
        found = []
        for place in sorted((self._sys / "class/net").glob("*")):
            node = usbnodes.network_node(place.name, (place / "ifindex").read_text().strip())
            self._files.show(self._real(node.devpath) / "uevent", self._controls(node)["uevent"])
            found.append(node)
        return found

    def _controls(self, node: Node) -> dict[str, Control]:
        if not node.subsystem:
            return node.controls
        uevent = Control(lambda text: self._reannounce(node, text), lambda: _uevent_of(node))
        return {"uevent": uevent, **node.controls}

    def _unbind(self, node: Node) -> None:
        if node.driver:
            directory = self._real(node.devpath)
            (directory / "driver").unlink(missing_ok=True)
            (self._sys / f"bus/{node.subsystem}/drivers" / node.driver / node.name).unlink(missing_ok=True)
            for name in node.driven:
                (directory / name).unlink(missing_ok=True)

    def _rewrite(self, directory: Path, files: Mapping[str, bytes]) -> None:
        """A reader finds the old text or the new, never half of it."""
        for name, content in files.items():
            draft = directory / f".{name}"
            draft.write_bytes(content)
            draft.chmod(usbattributes.mode_of(name))
            draft.rename(directory / name)

    def _entrances(self, node: Node) -> list[Path]:
        """The links by which enumeration finds ``node``."""
        found = []
        if node.device_number:
            found.append(self._sys / f"dev/char/{node.device_number[0]}:{node.device_number[1]}")
        if not node.subsystem:
            return found
        if node.subsystem in _BUSES:
            return [*found, self._sys / f"bus/{node.subsystem}/devices" / node.name]
        return [*found, self._sys / "class" / node.subsystem / node.name]

    @staticmethod
    def _numbered(node: Node) -> list[Path]:
        """The link in /dev/char, by the number that sysfs says."""
        number = node.device_number
        return [Path(f"/dev/char/{number[0]}:{number[1]}")] if number and "DEVNAME" in node.kernel else []

    def _subsystem(self, node: Node) -> Path:
        kind = "bus" if node.subsystem in _BUSES else "class"
        return self._sys / kind / node.subsystem

    def _real(self, devpath: str) -> Path:
        return self._sys / devpath.lstrip("/")

    def _link(self, link: Path, target: Path) -> None:
        link.symlink_to(os.path.relpath(target, link.parent))


def _uevent_of(node: Node) -> str:
    """What the file ``uevent`` says."""
    found = {}
    if node.device_number:
        found = {"MAJOR": str(node.device_number[0]), "MINOR": str(node.device_number[1])}
    for key, value in node.event("add", driver=node.driver).kernel.items():
        if key not in _UEVENT_KEYS_LEFT_OUT:
            found[key] = value.removeprefix("/dev/")
    return "".join(f"{key}={value}\n" for key, value in found.items())
