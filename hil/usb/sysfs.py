"""Reading udev devices: which socket, which board, which face. USB fact sheet 1.1, 1.3 and 9.1.

Everything comes from the properties of a device or of an event, because at a ``remove`` its sysfs entry is gone
already. Kernel properties (``PRODUCT``, ``BUSNUM``) are preferred: they are there without udevd as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hil.device.platforms import Platform, UsbMode, by_usb

_DEVICE_ID = re.compile(r"[0-9a-f]{24}")
_PORT = re.compile(r"\d+-\d+(?:\.\d+)*")
_INTERFACE = re.compile(r"(\d+-\d+(?:\.\d+)*):\d+\.(\d+)")


@dataclass(frozen=True, slots=True)
class UsbBoard:
    """A board as USB shows it at one moment.

    ``port`` names the socket (``"1-1.4"``: bus and chain of ports, what ``dfu-util -p`` takes) and stays when the
    board changes its mode; ``bus``, ``address`` and ``tty`` do not. ``device_id`` is ``None`` where the serial
    string is not the device id (old Device OS). ``tty`` is the first CDC port, once it is there.
    """

    port: str
    id_path: str
    platform: Platform
    mode: UsbMode
    serial: str
    device_id: str | None
    tty: str | None
    bus: int
    address: int

    @property
    def ready(self) -> bool:
        """Usable in its mode: in normal mode the serial port is there too."""
        return self.mode is UsbMode.DFU or self.tty is not None

    def __str__(self) -> str:
        where = f"{self.platform.name} at USB port {self.port}"
        if self.mode is UsbMode.DFU:
            return f"{where} (DFU mode)"
        return f"{where} ({self.tty or 'no serial port yet'})"


def device_id_from_serial(serial: str) -> str | None:
    """The device id in a USB serial string, or ``None`` if it holds none.

    Only printable characters count, case does not; 24 hex digits must remain.
    """
    text = "".join(char for char in serial if " " <= char <= "~").strip().lower()
    return text if _DEVICE_ID.fullmatch(text) else None


def port_of(devpath: str) -> str | None:
    """The port path in a kernel device path, of a USB device or of anything below one (a tty, an interface)."""
    ports = [part for part in devpath.split("/") if _PORT.fullmatch(part)]
    return ports[-1] if ports else None


def interface_number(properties: Mapping[str, str]) -> int | None:
    """Which USB interface a tty belongs to."""
    if "ID_USB_INTERFACE_NUM" in properties:
        return int(properties["ID_USB_INTERFACE_NUM"], 16)
    found = _INTERFACE.search(properties.get("DEVPATH", ""))
    return int(found[2]) if found else None


def board_from(properties: Mapping[str, str], serial: str) -> UsbBoard | None:
    """The board that a ``usb_device`` with these udev properties is, or ``None`` for anything else."""
    ids = properties.get("PRODUCT", "").split("/")
    port = port_of(properties.get("DEVPATH", ""))
    if len(ids) != 3 or port is None:
        return None
    known = by_usb(int(ids[0], 16), int(ids[1], 16))
    if known is None:
        return None
    platform, mode = known
    return UsbBoard(
        port=port,
        id_path=properties.get("ID_PATH", port),
        platform=platform,
        mode=mode,
        serial=serial,
        device_id=device_id_from_serial(serial),
        tty=None,
        bus=int(properties.get("BUSNUM", "0")),
        address=int(properties.get("DEVNUM", "0")),
    )
