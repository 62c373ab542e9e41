"""The root hub as programs see it: its nodes, a directory for each port, and the policy for new devices.

The hub's driver stays bound and the hub stays authorized: what would take it away is refused (EPERM), for the bus would
go with it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from hil.virtual.kernel import usbnodes
from hil.virtual.kernel.attachment import Attachment, Way
from hil.virtual.kernel.control import Control, number, truth
from hil.virtual.kernel.enumerated import Policy
from hil.virtual.kernel.roothub import RootHub
from hil.virtual.kernel.sysfs import Sysfs
from hil.virtual.kernel.usbnodes import Controller, Node, Place

_INTERNAL = 2  # the largest value of authorized_default: only devices that are built in


class HubPort(Protocol):
    """A port as its directory in sysfs commands it."""

    @property
    def disabled(self) -> bool: ...

    def disable(self, disabled: bool) -> None:
        """Take its device off the bus and take none any more, or look at it again."""


@dataclass(slots=True)
class HubFace:
    """``nodes`` are those that libudev knows: controller, hub, the hub's interface."""

    nodes: list[Node]
    attachment: Attachment
    ports: dict[int, Node] = field(default_factory=dict)

    def show_device(self, sysfs: Sysfs, port: int, device: Node | None) -> None:
        """The directory of ``port`` leads to its device and back."""
        sysfs.link(self.ports[port], "device", device)
        if device is not None:
            sysfs.link(device, "port", self.ports[port])


def show_hub(
    sysfs: Sysfs,
    controller: Controller,
    hub: RootHub,
    lock: threading.RLock,
    policy: Policy,
    port_of: Callable[[int], HubPort],
) -> HubFace:
    """Lays out controller and hub in sysfs. Nobody can listen yet, so there are no events."""
    place = Place(controller, f"usb{controller.bus}", 1)
    pci = usbnodes.controller_node(controller)
    device = usbnodes.device_node(hub, place)
    device.controls = _hub_controls(policy)
    attachment = Attachment(hub, 1, _Bindings(), lock, Way(controller.bus))
    face = HubFace([pci, device], attachment)
    sysfs.add(pci)
    sysfs.bind(pci, "xhci_hcd")
    sysfs.add(device)
    sysfs.bind(device, "usb")
    for interface in usbnodes.interfaces_of(hub):
        child = usbnodes.interface_node(hub, place, interface)
        child.controls = {"authorized": _fixed("1")}
        sysfs.add(child)
        sysfs.bind(child, "hub")
        attachment.holders[interface.number] = "hub"
        face.nodes.append(child)
    for number_ in range(1, hub.ports + 1):
        node = face.ports[number_] = usbnodes.port_node(face.nodes[-1], number_)
        node.controls = {"disable": _disable(port_of, number_)}
        sysfs.add(node)
    return face


def _hub_controls(policy: Policy) -> dict[str, Control]:
    def devices(text: str) -> None:
        policy.devices = number(text) if 0 <= number(text) <= _INTERNAL else 1

    def interfaces(text: str) -> None:
        policy.interfaces = truth(text)

    return {
        "authorized": _fixed("1"),
        "bConfigurationValue": _fixed("1"),
        "authorized_default": Control(devices, lambda: f"{policy.devices}\n"),
        "interface_authorized_default": Control(interfaces, lambda: f"{int(policy.interfaces)}\n"),
    }


def _fixed(value: str) -> Control:
    """Takes what it says already and refuses the rest."""

    def write(text: str) -> None:
        if text.strip() != value:
            raise OSError(errno.EPERM, "the bus of a rack goes with its hub")

    return Control(write, lambda: f"{value}\n")


def _disable(port_of: Callable[[int], HubPort], port: int) -> Control:
    return Control(
        lambda text: port_of(port).disable(truth(text)), lambda: f"{int(port_of(port).disabled)}\n"
    )


class _Bindings:
    """What usbfs may do with the hub's driver: nothing."""

    def unbind_driver(self, attachment: Attachment, interface: int) -> None:
        raise PermissionError(
            errno.EPERM,
            f"the root hub keeps its driver on interface {interface} of device {attachment.devnum}",
        )

    def probe_driver(self, attachment: Attachment, interface: int) -> bool:
        return attachment.driver_of(interface) is not None

    def show_claim(self, attachment: Attachment, interface: int, claimed: bool) -> None:
        """Never happens while the driver is bound."""

    def reset_device(self, attachment: Attachment) -> None:
        raise OSError(errno.EISDIR, f"the root hub, device {attachment.devnum}, is not reset")
