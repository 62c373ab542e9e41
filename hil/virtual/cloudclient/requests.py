"""What a virtual board does with the cloud's messages (protocol fact sheet 2.8, 3 and 4).

Every reply follows the board's habits: an empty ACK first, results apart, fresh message ids in ACKs to pings and
signals on TCP, events never acknowledged on TCP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from hil.errors import WireError
from hil.virtual.app.thread import ApplicationFault, Unregistered
from hil.virtual.cloudclient.conversation import Conversation
from hil.virtual.cloudclient.introduction import Introduction, szx
from hil.virtual.cloudclient.link import LinkDown
from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Block, Code, ContentFormat, Message, Option, Type
from hil.wire.coap.reliability import MISSING, Deduplicator
from hil.wire.messages import DescribeFlag, Kind
from hil.wire.ota.common import OtaReceiver
from hil.wire.ota.legacy import LegacyReceiver
from hil.wire.ota.v3 import V3Receiver

_LOG = logging.getLogger(__name__)
MAX_EVENT_NAME = 64
# What a handler without flags takes from 6.2 on (protocol fact sheet 3.5).
_TEXT_FORMATS = (None, ContentFormat.TEXT, ContentFormat.LINK_FORMAT, ContentFormat.XML, ContentFormat.JSON)


class Answering(Conversation, Protocol):
    """What answers need of their session beside the means to send them."""

    @property
    def introduction(self) -> Introduction: ...

    def respond(self, message: Message) -> None:
        """Send a separate response, confirmable or not. Raises LinkDown."""

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``work`` beside the session."""

    def wake_timers(self) -> None:
        """Some deadline moved."""


class RequestHandler:
    """Answers requests of one session; keeps the update that is under way."""

    def __init__(self, session: Answering) -> None:
        self._session = session
        self._seen = Deduplicator()
        self._replies: list[Message] = []
        self._update = self._receiver()
        self._applying = False
        self._handlers: dict[Kind, Callable[[Message], None]] = {
            Kind.PING: self._ping,
            Kind.EVENT: self._event,
            Kind.FUNCTION: self._function,
            Kind.VARIABLE: self._variable,
            Kind.SIGNAL: self._signal,
            Kind.KEY_CHANGE: self._key_change,
            Kind.DESCRIBE: self._describe,
        }

    @property
    def updating(self) -> bool:
        """Whether an update is under way; the board then publishes nothing (legacy protocol)."""
        return self._update.active

    # -- dispatch ----------------------------------------------------------------------------------------

    def handle(self, message: Message, kind: Kind) -> None:
        """Act on one message from the cloud."""
        dedup = message.type is Type.CON and not self._session.profile.tcp
        if dedup:
            stored = self._seen.lookup(message.mid, self._session.facts.clock.monotonic())
            if stored is not MISSING:
                if isinstance(stored, bytes):
                    self._session.send(coap.decode(stored))
                return
        self._replies = []
        if self._update.wants(message):
            self._advance(self._update.receive(message, self._session.facts.clock.monotonic()))
        elif handler := self._handlers.get(kind):
            try:
                handler(message)
            except WireError as error:
                self._session.facts.log(f"cloud request not understood: {error.what}")
        if dedup:
            reply = next((item for item in self._replies if item.mid == message.mid), None)
            if reply is not None:
                self._seen.remember(message.mid, coap.encode(reply), self._session.facts.clock.monotonic())

    def _reply(self, message: Message) -> None:
        self._replies.append(message)
        self._session.send(message)

    def _ack(self, message: Message) -> None:
        if message.type is Type.CON:
            self._reply(coap.empty_ack(message.mid))

    @property
    def _confirmable(self) -> bool:
        """Results of functions and variables are CON on DTLS and NON on TCP."""
        return not self._session.profile.tcp

    # -- session -----------------------------------------------------------------------------------------

    def _ack_mid(self, message: Message) -> int:
        return self._session.next_mid() if self._session.profile.tcp else message.mid

    def _ping(self, message: Message) -> None:
        self._reply(coap.empty_ack(self._ack_mid(message)))

    def _signal(self, message: Message) -> None:
        state = "on" if messages.parse_signal(message) else "off"
        self._session.facts.log(f"signal {state}")
        self._reply(Message(Type.ACK, Code.CHANGED, self._ack_mid(message), message.token))

    def _key_change(self, message: Message) -> None:
        self._ack(message)
        if not self._session.profile.tcp:
            raise LinkDown("KeyChange from the server", erase=True)

    # -- Describe ----------------------------------------------------------------------------------------

    def _describe(self, message: Message) -> None:
        if message.code != Code.GET:
            return
        flags = messages.parse_describe_request(message)
        session = self._session
        self._ack(message)
        payload, content_format = self._describe_payload(flags)
        # This response is confirmable on TCP as well (protocol fact sheet 1.5).
        reply = messages.describe_reply(
            session.next_mid(), message.token, payload, confirmable=True, content_format=content_format
        )
        session.respond(self._one_block(message, reply))

    def _describe_payload(self, flags: DescribeFlag) -> tuple[bytes, int | None]:
        introduction = self._session.introduction
        part = int(flags)
        if part == DescribeFlag.METRICS:
            uptime = self._session.app.millis() // 1000
            return messages.encode_vitals([messages.Vital(messages.VitalId.UPTIME, uptime)]), None
        system, content_format = introduction.system_payload()
        if part == DescribeFlag.SYSTEM:
            return system, content_format
        application = introduction.application_payload()
        if part == DescribeFlag.APPLICATION:
            return application, None
        profile = self._session.profile
        if profile.describe_protobuf:
            raise LinkDown("internal error of the board: two parts of a Describe asked for at once")
        if profile.describe_has_token:
            return system[:-1] + application[1:], None  # no comma between the halves: so 3.3 to 5.4 are
        return application[:-1] + b"," + system[1:], None

    def _one_block(self, request: Message, reply: Message) -> Message:
        size = self._session.introduction.block_size(reply.payload)
        if not size:
            return reply
        wanted = request.option(Option.BLOCK2)
        number = Block.decode(wanted).number if wanted is not None else 0
        part = reply.payload[number * size : (number + 1) * size]
        more = (number + 1) * size < len(reply.payload)
        etag = zlib.crc32(reply.payload).to_bytes(4, "big")
        block = (int(Option.BLOCK2), Block(number, more, szx(size)).encode())
        return replace(reply, options=((int(Option.ETAG), etag), *reply.options, block), payload=part)

    # -- application -------------------------------------------------------------------------------------

    def _event(self, message: Message) -> None:
        event = messages.parse_event(message)
        if self._confirmable:
            self._ack(message)
        facts = self._session.facts
        if event.name == "spark/device/reset":
            self._reset(event.data.decode("utf-8", "replace"))
        elif event.name == "particle/device/updates/forced":
            # The board compares as many bytes as there are, so no data is "true" as well.
            forced = "true" if b"true".startswith(event.data) else "false"
            self._session.system_event("particle/device/updates/forced", forced)
        elif event.name.startswith("spark/device/claim/"):
            facts.log("the cloud took the claim code")
            facts.clear_claim_code()
        if self._session.profile.scoped_subscriptions or event.content_format in _TEXT_FORMATS:
            self._session.app.deliver(event.name[:MAX_EVENT_NAME], event.data)

    def _reset(self, what: str) -> None:
        if what == "network":
            raise LinkDown("network reset by the cloud")
        known = {"safe mode": ("safe_mode", "safe"), "dfu": ("dfu_mode", "dfu"), "reboot": ("user", "normal")}
        if what in known:
            reason, mode = known[what]
            self._session.facts.request_reset(reason, mode=mode, delay=0.1)

    def _function(self, message: Message) -> None:
        call = messages.parse_function_call(message)
        session = self._session
        if len(call.argument) > session.profile.max_data:
            self._reply(Message(Type.ACK, Code.BAD_REQUEST, message.mid))
            return
        self._ack(message)
        running = session.app.call(call.name, call.argument)

        async def answer() -> None:
            try:
                value = _int32(await asyncio.wrap_future(running))
            except ApplicationFault:
                return  # an unknown function, too, gets only the ACK, never a result
            mid = session.next_mid()
            session.respond(messages.function_result(mid, call.token, value, confirmable=self._confirmable))

        session.spawn(answer)

    def _variable(self, message: Message) -> None:
        request = messages.parse_variable_request(message)
        session = self._session
        self._ack(message)
        reading = session.app.read(request.name)

        async def answer() -> None:
            try:
                data = messages.encode_variable(*await asyncio.wrap_future(reading))
            except Unregistered:
                type_ = Type.CON if self._confirmable else Type.NON
                session.respond(Message(type_, Code.NOT_FOUND, session.next_mid(), request.token))
                return
            except ApplicationFault:
                return
            mid, value = session.next_mid(), data[: session.profile.max_data]
            session.respond(
                messages.variable_result(mid, request.token, value, confirmable=self._confirmable)
            )

        session.spawn(answer)

    # -- updates -----------------------------------------------------------------------------------------

    def _receiver(self) -> OtaReceiver:
        session = self._session
        profile, facts = session.profile, session.facts
        if profile.ota_v3:
            return V3Receiver(profile.max_binary, session.next_mid, facts.validate_update)
        return LegacyReceiver(
            profile.max_binary,
            profile.tcp,
            session.next_mid,
            facts.validate_update,
            missing_limit=profile.missing_chunks_at_once,
            silence_limit=profile.update_silence_limit,
        )

    def acknowledged(self, message: Message) -> None:
        """An ACK came in: OTA V3 applies an update once its last response is acknowledged."""
        if self._update.wants(message):
            self._advance(self._update.receive(message, self._session.facts.clock.monotonic()))

    def _advance(self, outgoing: list[Message]) -> None:
        for message in outgoing:
            if message.type is Type.CON:
                self._session.confirm(message)
            else:
                self._reply(message)
        update = self._update
        if isinstance(update, V3Receiver) and update.drop_connection:
            raise LinkDown(f"update failed: {update.error}")
        if update.complete is not None and not self._applying:
            self._applying = True
            self._apply(update.complete)
        elif update.timed_out and not self._applying:
            self._applying = True
            self._session.facts.request_reset("update_timeout", delay=0.1)
        self._session.wake_timers()

    def _apply(self, file: bytes) -> None:
        """Hand the file over. The machine resets then, which stops this session: not on its own thread."""
        facts = self._session.facts

        def run() -> None:
            try:
                facts.apply_update(file)
            except Exception as error:
                _LOG.exception("a virtual board could not apply an update")
                facts.log(f"update not applied: {error!r}")

        threading.Thread(target=run, name="apply-update", daemon=True).start()

    def tick(self, now: float) -> None:
        """Let the update act on time."""
        deadline = self.next_deadline()
        if deadline is not None and deadline <= now:
            self._advance(self._update.tick(now))

    def next_deadline(self) -> float | None:
        """When ``tick`` is due."""
        return None if self._applying else self._update.next_deadline()


def _int32(value: int) -> int:
    """``value`` as a C ``int`` keeps it."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)
