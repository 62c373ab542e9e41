"""What a virtual board does with the cloud's messages (protocol fact sheet 2.8, 3 and 4).

Every reply follows the board's habits: an empty ACK first, results apart, fresh message ids in ACKs to pings and
signals on TCP, events never acknowledged on TCP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from hil.errors import WireError
from hil.virtual.cloud_link import LinkDown
from hil.wire import coap, messages
from hil.wire.coap import Block, Code, Message, Option, Type
from hil.wire.messages import DescribeFlag, Kind
from hil.wire.ota import OtaReceiver
from hil.wire.ota_legacy import LegacyReceiver
from hil.wire.ota_v3 import V3Receiver
from hil.wire.reliability import MISSING, Deduplicator

if TYPE_CHECKING:
    from hil.virtual.cloud_session import CloudSession


class RequestHandler:
    """Answers requests of one session; keeps the update that is under way."""

    def __init__(self, session: CloudSession) -> None:
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
            stored = self._seen.lookup(message.mid, time.monotonic())
            if stored is not MISSING:
                if isinstance(stored, bytes):
                    self._session.send(coap.decode(stored))
                return
        self._replies = []
        if self._update.wants(message):
            self._advance(self._update.receive(message, time.monotonic()))
        elif handler := self._handlers.get(kind):
            try:
                handler(message)
            except WireError as error:
                self._session.facts.log(f"cloud request not understood: {error.what}")
        if dedup:
            reply = next((item for item in self._replies if item.mid == message.mid), None)
            if reply is not None:
                self._seen.remember(message.mid, coap.encode(reply), time.monotonic())

    def _reply(self, message: Message) -> None:
        self._replies.append(message)
        self._session.send(message)

    def _ack(self, message: Message) -> None:
        if message.type is Type.CON:
            self._reply(coap.empty_ack(message.mid))

    def _respond(self, message: Message) -> None:
        """Send a separate response: CON on DTLS, NON on TCP."""
        if message.type is Type.CON:
            self._session.confirm(message)
        else:
            self._session.send(message)

    @property
    def _confirmable(self) -> bool:
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

    def _describe(self, message: Message) -> None:
        if message.code != Code.GET:
            return
        flags = messages.parse_describe_request(message)
        session = self._session
        if flags not in (DescribeFlag.SYSTEM, DescribeFlag.APPLICATION):
            if session.profile.describe_protobuf:
                raise LinkDown("internal error: Describe of two parts at once")
            self._ack(message)
            return
        self._ack(message)
        content_format: int | None = None
        if flags == DescribeFlag.SYSTEM:
            payload, content_format = session.system_payload()
        else:
            payload = session.app.describe().to_json()
        reply = messages.describe_reply(
            session.next_mid(),
            message.token,
            payload,
            confirmable=self._confirmable,
            content_format=content_format,
        )
        self._respond(self._one_block(message, reply))

    def _one_block(self, request: Message, reply: Message) -> Message:
        size = self._session.profile.describe_block_size
        if not size or len(reply.payload) <= size:
            return reply
        wanted = request.option(Option.BLOCK2)
        number = Block.decode(wanted).number if wanted is not None else 0
        part = reply.payload[number * size : (number + 1) * size]
        more = (number + 1) * size < len(reply.payload)
        block = Block(number, more, size.bit_length() - 5)
        options = ((int(Option.ETAG), b"\x01"), *reply.options, (int(Option.BLOCK2), block.encode()))
        return replace(reply, options=options, payload=part)

    # -- application -------------------------------------------------------------------------------------

    def _event(self, message: Message) -> None:
        event = messages.parse_event(message)
        if not self._session.profile.tcp:
            self._ack(message)
        facts = self._session.facts
        if event.name == "spark/device/reset":
            self._reset(event.data.decode("utf-8", "replace"))
        elif event.name == "particle/device/updates/forced":
            forced = "true" if b"true".startswith(event.data) else "false"
            self._session.system_event("particle/device/updates/forced", forced)
        elif event.name.startswith("spark/device/claim/"):
            facts.log("claim code cleared")
        self._session.app.deliver(event.name, event.data)

    def _reset(self, what: str) -> None:
        modes = {"safe mode": "safe", "dfu": "dfu", "reboot": "normal"}
        if what in modes:
            self._session.facts.request_reset("user", mode=modes[what], delay=0.1)
        elif what == "network":
            raise LinkDown("network reset by the cloud")

    def _function(self, message: Message) -> None:
        call = messages.parse_function_call(message)
        session = self._session
        if len(call.argument) > session.profile.max_data:
            self._reply(Message(Type.ACK, Code.BAD_REQUEST, message.mid))
            return
        self._ack(message)
        running = session.app.call(call.name, call.argument)
        if running is None:
            return  # an unknown function gets only the ACK, never a result

        async def answer() -> None:
            value = await asyncio.wrap_future(running)
            result = messages.function_result(
                session.next_mid(), call.token, value, confirmable=self._confirmable
            )
            self._respond(result)

        session.spawn(answer())

    def _variable(self, message: Message) -> None:
        request = messages.parse_variable_request(message)
        session = self._session
        self._ack(message)
        reading = session.app.read(request.name)

        async def answer() -> None:
            type_ = Type.CON if self._confirmable else Type.NON
            if reading is None:
                self._respond(Message(type_, Code.NOT_FOUND, session.next_mid(), request.token))
                return
            value = await asyncio.wrap_future(reading)
            kind = session.app.variables[request.name].kind
            data = messages.encode_variable(kind, value)[: session.profile.max_data]
            self._respond(
                messages.variable_result(
                    session.next_mid(), request.token, data, confirmable=self._confirmable
                )
            )

        session.spawn(answer())

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
            self._advance(self._update.receive(message, time.monotonic()))

    def _advance(self, outgoing: list[Message]) -> None:
        for message in outgoing:
            if message.type is Type.CON:
                self._session.confirm(message)
            else:
                self._reply(message)
        update = self._update
        if update.complete is not None and not self._applying:
            self._applying = True
            file = update.complete
            # The machine resets from here; that stops this session, so it cannot run on its loop.
            threading.Thread(target=self._session.facts.apply_update, args=(file,), daemon=True).start()
        elif update.timed_out and not self._applying:
            self._applying = True
            if self._session.profile.ota_v3:
                raise LinkDown("the update fell silent")
            self._session.facts.request_reset("update_timeout", delay=0.1)
        self._session.wake_timers()

    def tick(self, now: float) -> None:
        """Let the update act on time."""
        deadline = self.next_deadline()
        if deadline is not None and deadline <= now:
            self._advance(self._update.tick(now))

    def next_deadline(self) -> float | None:
        """When ``tick`` is due."""
        return None if self._applying else self._update.next_deadline()
