"""What writing to the files of a USB device in sysfs does (Documentation/ABI/testing/sysfs-bus-usb in Linux)."""

from __future__ import annotations

import errno
from collections.abc import Callable

from hil.virtual.kernel.control import Control, number, truth
from hil.virtual.kernel.enumerated import Bus, Enumerated, Step


class DeviceFiles:
    """The files of one device; ``on_remove`` takes it off the bus until it is plugged in again."""

    def __init__(self, bus: Bus, known: Enumerated, on_remove: Callable[[], None]) -> None:
        self._bus = bus
        self._known = known
        self._on_remove = on_remove

    def of_device(self) -> dict[str, Control]:
        known = self._known
        return {
            "authorized": Control(self._authorize, lambda: f"{int(known.authorized)}\n"),
            "bConfigurationValue": Control(
                self._configure,
                lambda: f"{known.device.configuration}\n" if known.device.configuration else "",
            ),
            "remove": Control(self._remove),
        }

    def of_interface(self, number: int) -> dict[str, Control]:
        attachment = self._known.attachment
        return {
            "authorized": Control(
                lambda text: self._authorize_interface(number, truth(text)),
                lambda: f"{int(number not in attachment.unauthorized)}\n",
            )
        }

    def _authorize(self, text: str) -> None:
        wanted = number(text) != 0
        known = self._known

        def authorize() -> list[Step]:
            if wanted == known.authorized:
                return []
            known.authorized = wanted
            return known.configure(known.device.configuration_descriptor[5] if wanted else 0)

        self._do(authorize)

    def _configure(self, text: str) -> None:
        known = self._known
        wanted = number(text)
        if not -1 <= wanted <= 255:
            raise OSError(errno.EINVAL, f"configuration {wanted}")
        wanted = max(0, wanted) if known.authorized else 0
        if wanted not in (0, known.device.configuration_descriptor[5]):
            raise OSError(errno.EINVAL, f"no configuration {wanted}")
        self._do(lambda: known.configure(wanted))

    def _remove(self, text: str) -> None:
        del text
        self._do(lambda: self._known.configure(0))
        self._on_remove()

    def _authorize_interface(self, number: int, wanted: bool) -> None:
        unauthorized = self._known.attachment.unauthorized

        def authorize() -> list[Step]:
            if wanted:
                unauthorized.discard(number)  # drivers do not come by themselves: see drivers_probe
                return []
            unauthorized.add(number)
            return self._known.release(number)

        self._do(authorize)

    def _do(self, action: Callable[[], list[Step]]) -> None:
        self._bus.change(self._known, action)
