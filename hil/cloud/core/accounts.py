"""A request to a device told as one line when it is over: with its result or its error, and with what it has cost."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Generic, Self, TypeVar

from hil.cloud.session.meter import Bill
from hil.cloud.state.activity import Activity, Cost
from hil.cloud.state.happenings import Billed, Called, VariableRead
from hil.cloud.state.names import DeviceRef, device_id_of
from hil.errors import HilError

Told = TypeVar("Told", Called, VariableRead)


class Account(Generic[Told]):
    """A ``with`` block that tells what became of its request. ``told`` is the line so far; costs go on ``bill``."""

    def __init__(self, activity: Activity, device: DeviceRef, told: Told) -> None:
        self.told: Told = told
        self.bill = Bill(self._late)
        self._activity = activity
        self._device_id = device_id_of(device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            why = error.what if isinstance(error, HilError) else "broken off"
            self.told = replace(self.told, error=why)
        self._activity.tell(self._device_id, self.told, self.bill.settle())

    def _late(self, cause: str, cost: Cost) -> None:
        self._activity.tell(self._device_id, Billed(cause), (cost,))
