"""Which interfaces the driver cdc_acm takes together, as its probe decides (drivers/usb/class/cdc-acm.c)."""

from __future__ import annotations

from dataclasses import dataclass

from hil.virtual.kernel.usbconfig import Interface

DRIVER = "cdc_acm"


@dataclass(frozen=True, slots=True)
class Function:
    """One serial port: its control interface carries the tty, the data interface the bytes."""

    control: Interface
    data: Interface | None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Interface numbers, data first: the driver lets go of them in that order."""
        return (self.data.number, self.control.number) if self.data else (self.control.number,)


def functions(interfaces: list[Interface], drivers: dict[int, str]) -> list[Function]:
    """The serial functions among ``interfaces`` that ``drivers`` gives to cdc_acm."""
    by_number = {one.number: one for one in interfaces if drivers.get(one.number) == DRIVER}
    return [
        Function(one, by_number.get(one.number + 1)) for one in by_number.values() if one.is_serial_control
    ]
