"""Which board sits in a slot: its device id and Device OS release, by the rig file and by its own word."""

from __future__ import annotations

from hil.device.platforms import UsbMode
from hil.errors import RigError
from hil.rig.connection import UsbConnection
from hil.usb import requests


class Identity:
    """Device id and Device OS release of the board on ``connection``. ``device_os`` is the rig file's until asked."""

    def __init__(self, connection: UsbConnection) -> None:
        self._connection = connection
        self._device_id = connection.slot.device_id
        self.device_os = connection.slot.device_os

    @property
    def device_id(self) -> str:
        """24 hex digits in lower case: the rig file's, else what the board says."""
        if self._device_id is None:
            connection = self._connection
            self._device_id = connection.usb.device_id or requests.device_id(connection.control())
        return self._device_id

    def learn_release(self) -> None:
        """Ask the board for its Device OS release, where it can be asked."""
        if self._connection.has_control:
            self.device_os = requests.os_version(self._connection.control())

    def check(self) -> None:
        """Check that the board in the slot is the one of the rig file, and learn its Device OS release.

        Raises ``RigError`` that names what is there instead.
        """
        connection, slot = self._connection, self._connection.slot
        usb = connection.usb
        if usb.platform != connection.platform:
            raise self._mismatch(connection.platform.display, str(usb))
        if usb.mode is UsbMode.NORMAL and connection.has_control:
            found = requests.device_id(connection.control())
            self.learn_release()
        else:
            found = usb.device_id or ""
        if found and slot.device_id not in (None, found):
            raise self._mismatch(f"device {slot.device_id}", f"device {found}")
        self._device_id = found or self._device_id

    def _mismatch(self, expected: str, found: str) -> RigError:
        slot = self._connection.slot
        return RigError(
            f"another board sits in slot {slot.name}",
            expected=f"{expected} at USB port {slot.port}",
            found=found,
            hint="plug the right board in, or correct the rig file",
        )
