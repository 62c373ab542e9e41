"""Over-the-air updates: choosing the protocol, driving the sender, and judging what became of it.

Facts: protocol fact sheet 4 and 11.5; the events of an update, cloud API fact sheet 2.3 (real payloads carry a
trailing space).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from hil.clock import Timer
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.devices import Device, application_hash
from hil.cloud.state.happenings import Updated
from hil.cloud.state.trouble import StateFailed
from hil.device.modules import Module, ModuleFunction, parse
from hil.device.platforms import Transport
from hil.errors import DeviceOffline, Refused, WireError, WrongPlatform
from hil.wire.coap.message import Message
from hil.wire.messages.hello import HelloFlag
from hil.wire.ota.common import CHUNK_SIZE, OtaSender
from hil.wire.ota.legacy import LegacySender
from hil.wire.ota.v3 import V3Sender

STATUS_EVENT = "spark/flash/status"
_APPLICATIONS = (ModuleFunction.USER_PART, ModuleFunction.MONOLITHIC)


@dataclass(frozen=True, slots=True)
class OtaReport:
    """What became of an update. ``duration`` in seconds, ``transferred`` and ``size`` in bytes.

    ``reason`` says why it failed, empty when it did not; ``result`` is the device's last word as JSON text.
    """

    ok: bool
    reason: str
    duration: float
    size: int
    transferred: int = 0
    result: str = ""


def checked_module(session: DeviceSession, binary: bytes) -> Module:
    """The module in ``binary``, if the device can take it at all. Raises ``Refused``."""
    try:
        module = parse(binary)
    except WireError as error:
        raise Refused("not a firmware module", expected=error.expected, found=error.what) from error
    device, platform = session.device, session.platform
    if device is not None and module.platform_id != device.platform_id:
        name = platform.name if platform else "platform"
        raise WrongPlatform(
            "the firmware is for another platform",
            expected=f"{name} ({device.platform_id})",
            found=str(module.platform_id),
        )
    limit = _largest(session)
    if limit is not None and len(binary) > limit:
        raise Refused("the firmware is too large", expected=f"at most {limit} bytes", found=str(len(binary)))
    return module


def _largest(session: DeviceSession) -> int | None:
    hello = session.device.hello if session.device else None
    return hello.max_binary if hello and hello.max_binary else session.max_binary


class Update:
    """One file on its way to one device. Calls of functions are refused meanwhile."""

    def __init__(self, session: DeviceSession, binary: bytes, *, unchecked: bool = False) -> None:
        if session.updater is not None:
            raise Refused("the device is being updated already", hint="wait for that update to end")
        self.session = session
        self.module = None if unchecked else checked_module(session, binary)
        self.binary = binary
        self.sender = _sender(session, binary)
        # How many comings and goings, of any device, there had been when the device had the whole file.
        self.contacts_before_end = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: Timer | None = None
        self._tenths = 0  # of the file, as last told
        session.updater = self.sender
        session.on_update_message = self._take
        session.on_gone = self._gone

    async def run(self) -> OtaReport:
        """Transfer the file. Never raises; the report says how it went."""
        began = self._now()
        self._say("started ")
        what = str(self.module or f"{len(self.binary)} bytes, not looked at")
        self.session.log(f"update: {what}", told=True)
        self._tell("started", what)
        try:
            self._send(self.sender.start(self._now()))
            await self._ended
            reason = self.sender.error or ""
        except DeviceOffline as error:
            reason = error.what
        finally:
            self._release()
        self._say("failed " if reason else "success ")
        self.session.log(f"update {'failed: ' + reason if reason else 'transferred'}", told=True)
        self._tell("failed" if reason else "sent", reason)
        transferred, size = self.sender.progress
        duration = self._now() - began
        return OtaReport(not reason, reason, duration, size, transferred, self.sender.result)

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.session.updater = None
        self.session.on_gone = lambda _why: None

    def _say(self, status: str) -> None:
        device = self.session.device
        assert device is not None, "only a device that said Hello is updated"
        with suppress(StateFailed):
            self.session.services.bus.emit(STATUS_EVENT, status, device_id=device.id, owner=device.owner)

    def _tell(self, state: str, detail: str = "") -> None:
        sent, size = self.sender.progress
        self.session.tell(Updated(state, sent, size, detail))

    def _tell_progress(self) -> None:
        """A word at every tenth of the file; the legacy protocol may fall back, which is no progress."""
        sent, size = self.sender.progress
        tenths = sent * 10 // size
        if self._tenths < tenths < 10:
            self._tenths = tenths
            self._tell("sending")

    def _take(self, message: Message) -> None:
        self._send(self.sender.receive(message, self._now()))

    def _tick(self) -> None:
        self._send(self.sender.tick(self._now()))

    def _send(self, messages: list[Message]) -> None:
        """Send what the sender wants, then see whether it is through or when it wants to be asked again."""
        for message in messages:
            self.session.channel.send(message)
        self._tell_progress()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.sender.finished or self.sender.error is not None:
            if not self._ended.done():
                # Noted at once: the device may be back before whoever waits for the end is woken.
                self.contacts_before_end = len(self.session.services.presence.contacts)
                self._ended.set_result(None)
            return
        deadline = self.sender.next_deadline()
        if deadline is not None:
            self._timer = self.session.services.clock.call_at(deadline, self._tick)

    def _now(self) -> float:
        return self.session.services.clock.monotonic()

    def _gone(self, why: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(DeviceOffline(f"the device went offline during the update: {why}"))


def _sender(session: DeviceSession, binary: bytes) -> OtaSender:
    hello = session.device.hello if session.device else None
    channel = session.channel
    size = (hello.chunk_size if hello else None) or CHUNK_SIZE
    patience = session.services.config.timing.update_ready
    if hello is not None and HelloFlag.OTA_V3 in hello.flags:
        return V3Sender(
            binary,
            chunk_size=size,
            next_mid=channel.next_mid,
            next_token=channel.next_token,
            ready_timeout=patience,
        )
    return LegacySender(
        binary,
        chunk_size=size,
        reliable_transport=session.link.transport is Transport.TCP,
        next_mid=channel.next_mid,
        next_token=channel.next_token,
        ready_timeout=patience,
    )


def runs_module(device: Device, module: Module) -> bool | None:
    """Whether ``device`` says that it has ``module``; ``None`` when it says nothing about it."""
    if device.system is None:
        return None
    if module.function in _APPLICATIONS:
        current = application_hash(device.system)
        return None if current is None else current == module.sha256
    letter = {ModuleFunction.BOOTLOADER: "b", ModuleFunction.SYSTEM_PART: "s"}.get(module.function)
    versions = [
        one.version
        for one in device.system.modules
        if one.function == letter and one.index == module.index and one.store == "m"
    ]
    return module.version in versions if versions else None
