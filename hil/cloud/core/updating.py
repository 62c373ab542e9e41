"""Updates from the caller's side: started, followed, and judged by whether the device is back with the firmware."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hil.cloud.session.services import Services
from hil.cloud.session.session import DeviceSession
from hil.cloud.session.updates import OtaReport, Update, runs_module
from hil.cloud.state.devices import Device
from hil.cloud.state.presence import Contact, ContactKind
from hil.cloud.state.pulse import Pulse


class Updating:
    """The updates that are under way. ``pulse`` beats with every contact and Describe."""

    def __init__(self, services: Services, pulse: Pulse) -> None:
        self._services = services
        self._pulse = pulse
        self._tasks: set[asyncio.Task[OtaReport]] = set()

    def start(self, session: DeviceSession, binary: bytes) -> None:
        """Start an update in the background. Raises ``Refused`` for a file the device cannot take."""
        self._spawn(Update(session, binary))

    async def flash(
        self, session: DeviceSession, device: Device, binary: bytes, within: float, *, unchecked: bool
    ) -> OtaReport:
        """Update ``device``, whose session this is, and wait until it is back or has failed.

        ``within`` is the caller's patience: real seconds, whatever the cloud's clock shows.
        """
        update = Update(session, binary, unchecked=unchecked)
        back = _Return(self._services, update, device)
        loop, clock = asyncio.get_running_loop(), self._services.clock
        began, began_by_clock = loop.time(), clock.monotonic()
        transfer = self._spawn(update)
        await asyncio.wait([transfer], timeout=within)
        if not transfer.done():
            transfer.cancel()
            return OtaReport(False, f"not transferred within {within:g} s", within, len(binary))
        report = transfer.result()
        if not report.ok:
            return report
        if await self._pulse.until(back.seen, within - (loop.time() - began)):
            reason = back.complaint()
        else:
            reason = f"the device did not come back within {within:g} s"
        return replace(report, ok=not reason, reason=reason, duration=clock.monotonic() - began_by_clock)

    async def stop(self) -> None:
        """Break off what is under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, update: Update) -> asyncio.Task[OtaReport]:
        task = asyncio.create_task(update.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Return:
    """What tells that an updated device is back. Made before the update starts, to know what was there then."""

    def __init__(self, services: Services, update: Update, device: Device) -> None:
        self._contacts = services.presence.contacts
        self._update = update
        self._device = device
        self._position = len(self._contacts)
        self._described = device.times_described
        self._had_it = update.module is not None and runs_module(device, update.module) is True

    def seen(self) -> bool:
        """Whether the device is back."""
        greeted = any(contact.kind is ContactKind.HELLO for contact in self._arrivals(self._position))
        # With the firmware it had before, nothing has changed for the device: it may resume without a Hello.
        resumed = self._had_it and bool(self._arrivals(self._update.contacts_before_end))
        return resumed or (greeted and self._device.times_described > self._described)

    def complaint(self) -> str:
        """What is wrong with the device that is back; empty when it has the new firmware or does not say."""
        module = self._update.module
        if module is None or runs_module(self._device, module) is not False:
            return ""
        return "the device came back without the new firmware"

    def _arrivals(self, position: int) -> list[Contact]:
        return [
            contact
            for contact in self._contacts.since(position)
            if contact.device_id == self._device.id and contact.is_arrival
        ]
