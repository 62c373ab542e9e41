"""One device's session: what comes in goes to the right handler, what goes out goes through its channel.

Independent of the transport. A new session knows nobody until its Hello; a resumed one is its device's from
the first authentic record on. Whatever a message changes is committed before its acknowledgement goes out,
so an acknowledged event survives a killed cloud (protocol fact sheet 2.8, 7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from hil.cloud.session.blockwise import BlockAssembly
from hil.cloud.session.channel import Channel, Exchange
from hil.cloud.session.link import Link
from hil.cloud.session.services import Services
from hil.cloud.session.silence import Silence
from hil.cloud.session.traffic import OverheardLink
from hil.cloud.state.activity import Cost
from hil.cloud.state.devices import Device
from hil.cloud.state.events import CloudEvent
from hil.cloud.state.happenings import Happening
from hil.cloud.state.presence import ContactKind, keep_alive_of
from hil.cloud.state.trouble import StateFailed
from hil.device.platforms import Platform, by_id
from hil.errors import CloudError, DeviceOffline, HilError, WireError
from hil.wire.coap.message import Code, Message, Type, decode, empty_ack, encode, ping
from hil.wire.coap.reliability import MISSING, Deduplicator
from hil.wire.messages import Kind, classify
from hil.wire.ota.common import OtaSender

UPDATES_EVENT = "particle/device/updates/enabled"
_SHOWN = 200  # characters of what was refused


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a handler wants: the ``reply`` to send once everything is committed, then ``then`` to run."""

    reply: Message | None = None
    then: tuple[Callable[[], None], ...] = ()


class Hub(Protocol):
    """What a session tells the cloud."""

    def arrived(self, session: DeviceSession, kind: ContactKind) -> None:
        """The session's device is online."""

    def left(self, session: DeviceSession, why: str) -> None:
        """The session's device is offline, or its connection is gone."""

    def distribute(self, event: CloudEvent) -> None:
        """An event is committed: hand it to everyone who may have it."""


Handler = Callable[["DeviceSession", Message], Outcome]


@dataclass(frozen=True, slots=True)
class Handlers:
    """Who handles what; ``repeated_event`` is told of an event that came a second time."""

    by_kind: dict[Kind, Handler]
    other: Handler
    repeated_event: Handler


class DeviceSession:
    """The cloud's end of the talk with one device."""

    def __init__(self, services: Services, hub: Hub, link: Link, handlers: Handlers) -> None:
        self.services = services
        self.hub = hub
        self.link: Link = OverheardLink(link, services.traffic)
        self.channel = Channel(self.link, services.config.timing, self._gave_up, services.clock)
        self.device: Device | None = None
        self.turn = asyncio.Lock()  # functions and variables: one at a time (cloud API fact sheet 5)
        self.described = asyncio.Event()
        self.updater: OtaSender | None = None
        self.on_update_message: Callable[[Message], None] = lambda _message: None
        self.on_gone: Callable[[str], None] = lambda _why: None
        self.describe_blocks = BlockAssembly()
        self.max_binary: int | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.asking: asyncio.Task[None] | None = None  # the device to describe itself
        self.updates_event_seen = False
        self.closed = False
        self._marked = False
        self._handlers = handlers
        self._duplicates = Deduplicator()
        self._question: Exchange | None = None
        self.silence = Silence(
            services.clock,
            services.config.timing,
            told=self._told_keep_alive,
            usual=self._usual_keep_alive,
            ask=self.ask_whether_there,
            on_end=self._lost,
        )

    @property
    def online(self) -> bool:
        """Whether the device can be reached through this session."""
        return not self.closed and self.device is not None and self.services.presence.online(self.device.id)

    @property
    def platform(self) -> Platform | None:
        """The device's platform, when the table knows it."""
        try:
            return by_id(self.device.platform_id) if self.device else None
        except KeyError:
            return None

    # Coming in

    def receive(self, data: bytes, *, marked: bool = False, moved: bool = False) -> None:
        """Take one authentic CoAP message.

        ``marked``: it came in a record marked as resumed; ``moved``: from another address than the one before.
        """
        self.services.traffic.note(self.link, self.device.id if self.device else None, data, upward=True)
        try:
            message = decode(data)
        except WireError as error:
            self.log(f"not CoAP: {error.what}")
            return
        kind = classify(message)
        if self.device is None and kind is not Kind.HELLO:
            self.log(f"{kind.name} before the Hello: not answered")
            return
        if self.device is not None:
            self._heard(self.device, kind, marked=marked, moved=moved)
        self._marked = marked
        if message.type in (Type.ACK, Type.RST) or message.is_response:
            self._receive_answer(message)
        else:
            self._receive_request(message, kind)

    def _heard(self, device: Device, kind: Kind, *, marked: bool, moved: bool) -> None:
        """A sign of life; perhaps of a new beginning."""
        self.services.registry.heard(device.id, self.link.host)
        self.services.presence.note_heard(device.id)
        if self._question is not None:
            self.channel.withdraw(self._question)
            self._question = None
        resumes = marked or moved or not self.online
        self.silence.heard(own_ping=kind is Kind.PING and not resumes)
        if kind is Kind.HELLO:
            self.silence.forget()
            return
        if marked and (moved or not self._marked or kind is Kind.PING):
            self.arrive(ContactKind.RESUME)
        elif moved:
            self.arrive(ContactKind.MOVED)
        elif not self.online and kind is not Kind.GOODBYE:
            self.arrive(ContactKind.RESUME)

    def arrive(self, kind: ContactKind) -> None:
        """The device is here, by a new contact."""
        self.updates_event_seen = False
        if self.device is not None and kind is not ContactKind.HELLO:
            with suppress(StateFailed):
                self.services.registry.saw_resume(self.device.id, self.link.host)
        self.hub.arrived(self, kind)
        self.silence.watch()

    def _receive_answer(self, message: Message) -> None:
        self._save_if_possible()
        if message.type in (Type.ACK, Type.RST):
            self.channel.acknowledge(message)
        if self.updater is not None and self.updater.wants(message):
            self.on_update_message(message)
            return
        if message.type is Type.CON:
            self._reply(message, empty_ack(message.mid))
        if message.type not in (Type.ACK, Type.RST) and not self.channel.respond(message):
            self.log(f"late or repeated answer, token {message.token.hex() or 'none'}")

    def _receive_request(self, message: Message, kind: Kind) -> None:
        # An update bears repeated messages by itself and gives its own replies.
        if self.updater is not None and self.updater.wants(message):
            self._save_if_possible()
            self.on_update_message(message)
            return
        if message.type is Type.CON and not self.channel.reliable:
            known = self._duplicates.lookup(message.mid, self._now())
            if known is not MISSING:
                self._repeat(message, kind, known)
                return
        try:
            outcome = self._handle(message, kind)
        except StateFailed:
            self._cannot_store(message, kind)
            return
        if outcome.reply is not None:
            self._reply(message, outcome.reply)
        self._go_on(outcome)

    def _handle(self, message: Message, kind: Kind) -> Outcome:
        """What a handler wants, committed. What it changed before it refused a message is undone."""
        handler = self._handlers.by_kind.get(kind, self._handlers.other)
        try:
            with self.services.store.transaction():
                outcome = handler(self, message)
                self.save()
                return outcome
        except StateFailed:
            raise
        except (WireError, CloudError) as error:
            with self.services.store.transaction():
                self.log(f"{kind.name} refused: {_in_words(error)}")
                self.save()
            return Outcome(refusal(message))

    def _cannot_store(self, message: Message, kind: Kind) -> None:
        """Nothing is acknowledged that is not stored; a ping stores nothing, and its device is here all the same.

        Said by the store; not remembered as answered, so that the device may try the same message again.
        """
        answer = empty_ack(message.mid) if kind is Kind.PING else refusal(message, Code.SERVICE_UNAVAILABLE)
        if answer is not None:
            self.link.send(encode(answer))

    def _repeat(self, message: Message, kind: Kind, known: bytes | None) -> None:
        """The device did not get our acknowledgement: give it again, and let the ledger know."""
        self.log(f"{kind.name} came twice, message {message.mid}")
        try:
            if kind is Kind.TIME:
                # What was right at the first request is several seconds old by now.
                outcome = self._handle(message, kind)
                known = known if outcome.reply is None else encode(outcome.reply)
            with self.services.store.transaction():
                counted = self._count_again(message) if kind is Kind.EVENT else Outcome()
                self.save()
        except StateFailed:
            self._cannot_store(message, kind)
            return
        if known is not None:
            self.link.send(known)
        self._go_on(counted)

    def _go_on(self, outcome: Outcome) -> None:
        """What follows a message that is acknowledged; what of it cannot be stored is left out."""
        for action in outcome.then:
            with suppress(StateFailed):
                action()

    def _count_again(self, message: Message) -> Outcome:
        try:
            return self._handlers.repeated_event(self, message)
        except (WireError, CloudError) as error:
            self.log(f"not the event it repeats: {_in_words(error)}")
            return Outcome()

    def _reply(self, request: Message, reply: Message) -> None:
        data = encode(reply)
        if request.type is Type.CON:
            self._duplicates.remember(request.mid, data, self._now())
        self.link.send(data)

    # Going on and ending

    def adopt(self, device: Device) -> None:
        """This session is ``device``'s from now on."""
        self.device = device
        self.services.traffic.name(self.link, device.id)
        if device.application is not None:
            self.described.set()

    def know_again(self, mids: list[int]) -> None:
        """After a restart: these messages were taken before it; acknowledge them only, should they come again."""
        for mid in mids:
            self._duplicates.remember(mid, encode(empty_ack(mid)), self._now())

    def save(self) -> None:
        """Store what a resumption needs."""
        if self.device is not None and not self.closed:
            self.link.save(self.device.id, online=self.online, next_mid=self.channel.mid)

    def _save_if_possible(self) -> None:
        """Where nothing but the session itself is to be stored: what is there is good for a while yet."""
        with suppress(StateFailed), self.services.store.transaction():
            self.save()

    def log(self, line: str, *, told: bool = False) -> None:
        """Note a line in the device's log; ``told``: :meth:`tell` says the same."""
        self.services.log.add(self.device.id if self.device else None, line, told=told)

    def tell(self, what: Happening, costs: Sequence[Cost] = ()) -> None:
        """Say to whoever follows the cloud what happened with the device."""
        self.services.activity.tell(self.device.id if self.device else None, what, costs)

    def spawn(self, work: asyncio.Task[None]) -> None:
        """Keep a task that lives at most as long as the session."""
        self.tasks.add(work)
        work.add_done_callback(self.tasks.discard)

    def go_offline(self, why: str) -> None:
        """The device cannot be reached for now; what it may resume stays."""
        self.silence.stop()
        self.channel.abandon(DeviceOffline(f"the device went offline: {why}"))
        self.on_gone(why)
        if self.device is not None:
            with suppress(StateFailed):
                self.services.registry.keep_heard(self.device.id)
        self.hub.left(self, why)
        self._save_if_possible()

    def close(self, why: str, *, forget: bool, notify: bool = False) -> None:
        """The session is over. ``forget``: nothing can be resumed; ``notify``: the device is told so."""
        if not self.closed:
            self.go_offline(why)
            self.end(why, forget=forget, notify=notify)

    def end(self, why: str, *, forget: bool, notify: bool = False) -> None:
        """As ``close``, for a device that is not offline: it has a newer session, or the cloud stops."""
        self.closed = True
        self.silence.stop()
        self.channel.close(DeviceOffline(f"the device's session ended: {why}"))
        self.on_gone(why)
        self.described.set()  # whoever waits must see that it is over
        for task in tuple(self.tasks):
            task.cancel()
        self.link.close(forget=forget, notify=notify)

    def _gave_up(self) -> None:
        self._lost("it acknowledged none of our attempts")

    def _lost(self, why: str) -> None:
        if self.channel.reliable:
            self.close(why, forget=True)
        else:
            self.go_offline(why)

    def ask_whether_there(self) -> None:
        """Send a ping, which anything that the device says answers; unanswered, it is offline."""
        with suppress(DeviceOffline):
            self._question = self.channel.request(ping(self.channel.next_mid()))

    def _told_keep_alive(self) -> float | None:
        told = self.device.keep_alive if self.device else None
        return self.services.config.timing.keep_alive if told is None else told

    def _usual_keep_alive(self) -> float:
        version = self.device.os_rules if self.device else None
        return keep_alive_of(self.platform, self.link.transport, version)

    def _now(self) -> float:
        return self.services.clock.monotonic()


def _in_words(error: HilError) -> str:
    return f"{error.what}: {error.found[:_SHOWN]}" if error.found else error.what


def refusal(message: Message, code: int = 0x80) -> Message | None:
    """The error ACK for a confirmable ``message`` that cannot be accepted; nothing for others."""
    if message.type is not Type.CON:
        return None
    return Message(Type.ACK, code, message.mid, message.token)
