"""One session of a virtual board with the cloud: ids, confirmation, keep-alive, and what comes in.

Protocol fact sheet 2.8, 2.9 and 3. Runs on the asyncio loop of the cloud client; ends by raising LinkDown. What the
board says at its start is in ``introduction``, how it answers requests in ``requests``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

from hil.errors import WireError
from hil.virtual.app.apps import ApplicationHost
from hil.virtual.app.wiring import AckMode, Publication, PublishState
from hil.virtual.cloudclient.conversation import OnReply
from hil.virtual.cloudclient.introduction import Introduction
from hil.virtual.cloudclient.link import Link, LinkDown
from hil.virtual.cloudclient.requests import RequestHandler
from hil.virtual.cloudclient.timing import Timing
from hil.virtual.hardware.facts import DeviceFacts
from hil.virtual.hardware.profile import Profile
from hil.virtual.hardware.session_cache import SessionCache
from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Code, Message, Type
from hil.wire.coap.reliability import Retransmitter
from hil.wire.messages import Goodbye, Kind

_LOG = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class CloudSession:
    """The CoAP side of one connection."""

    def __init__(
        self,
        facts: DeviceFacts,
        profile: Profile,
        link: Link,
        app: ApplicationHost,
        cache: SessionCache,
        *,
        timing: Timing,
        on_connected: Callable[[], None],
    ) -> None:
        self.facts = facts
        self.profile = profile
        self.link = link
        self.app = app
        self.cache = cache
        self.timing = timing
        self.clock = facts.clock.on_loop()
        self.server_hello = asyncio.Event()
        self._on_connected: Callable[[], None] | None = on_connected
        self._token = random.randrange(256)
        self._pending: dict[int, OnReply | None] = {}
        self._publications: dict[int, Publication] = {}
        self._retransmitter = Retransmitter(timing.ack_timeout)
        self._hello_mid: int | None = None
        self._introduced = False
        self._last_heard = self.clock.monotonic()
        self._last_ping = 0.0
        self._timers = asyncio.Event()
        self._ended: asyncio.Future[LinkDown] = asyncio.get_running_loop().create_future()
        self._background: set[asyncio.Task[None]] = set()
        self.requests = RequestHandler(self)
        self.introduction = Introduction(self)

    # -- ids and sending ---------------------------------------------------------------------------------

    def next_mid(self) -> int:
        """A fresh message id; the counter survives a resume."""
        mid = self.cache.next_mid
        self.cache.next_mid = (mid + 1) & 0xFFFF
        return mid

    def next_token(self) -> bytes:
        """A fresh 1-byte token."""
        self._token = (self._token + 1) & 0xFF
        return bytes([self._token])

    def send(self, message: Message) -> None:
        """Send a message whose acknowledgement nobody waits for. Raises LinkDown."""
        self._transmit(coap.encode(message))

    def confirm(self, message: Message, on_reply: OnReply | None = None) -> None:
        """Send a confirmable message; ``on_reply`` gets its ACK (an error ACK too). Raises LinkDown."""
        data = coap.encode(message)
        self._pending[message.mid] = on_reply
        if not self.profile.tcp:
            self._retransmitter.track(message.mid, data, self.clock.monotonic())
            self._timers.set()
        self._transmit(data)

    async def confirmed(self, message: Message) -> Message:
        """Send a confirmable message and wait for its ACK. Raises LinkDown."""
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def take(message: Message) -> None:
            if not reply.done():
                reply.set_result(message)

        self.confirm(message, take)
        return await reply

    async def confirmed_hello(self, message: Message) -> None:
        """Send the Hello; until its ACK is there everything else from the server is dropped."""
        self._hello_mid = message.mid
        await self.confirmed(message)

    def respond(self, message: Message) -> None:
        """Send a separate response or a request, confirmable or not."""
        if message.type is Type.CON:
            self.confirm(message)
        else:
            self.send(message)

    def _transmit(self, data: bytes) -> None:
        self.link.send(data)
        self._save()

    def _save(self) -> None:
        if not self.profile.tcp:
            self.cache.store(self.facts.backup, self.link.saved_session())

    # -- the session's life ------------------------------------------------------------------------------

    async def run(self, resumed: bool) -> None:
        """Talk until the link goes down (LinkDown)."""
        self.spawn(self._read)
        self.spawn(self._keep_time)
        self.spawn(lambda: self._introduce(resumed))
        try:
            raise await self._ended
        finally:
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            for publication in self._publications.values():
                publication.state = PublishState.FAILED

    def spawn(self, work: Work) -> None:
        """Run ``work`` beside the session; each ends with the other's LinkDown."""
        if self._ended.done():
            return
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _guarded(self, work: Work) -> None:
        try:
            await work()
        except LinkDown as error:
            self.fail(error)
        except Exception as error:
            _LOG.exception("the cloud session of a virtual board broke")
            self.fail(LinkDown(f"internal error: {error!r}"))

    def act(self, action: Callable[[], None]) -> None:
        """Do something that may send, on behalf of someone outside: LinkDown ends the session here."""
        try:
            action()
        except LinkDown as error:
            self.fail(error)

    def fail(self, error: LinkDown) -> None:
        """End the session."""
        if not self._ended.done():
            self._ended.set_result(error)

    async def _introduce(self, resumed: bool) -> None:
        await self.introduction.run(resumed)
        self._introduced = True
        self._tell_connected()

    def _tell_connected(self) -> None:
        """Online once all confirmable messages so far are acknowledged; TCP does not wait for that."""
        if self._on_connected is None or not self._introduced or (self._pending and not self.profile.tcp):
            return
        self._on_connected()
        self._on_connected = None

    # -- what the board says -----------------------------------------------------------------------------

    def system_event(self, name: str, data: str) -> None:
        """A system event: CON on DTLS, NON on TCP."""
        confirmable = not self.profile.tcp
        self.respond(messages.event(self.next_mid(), name, data.encode(), confirmable=confirmable))

    def publish(self, name: str, data: bytes, ttl: int, ack: AckMode, publication: Publication) -> None:
        """Publish an application event; ``publication`` learns what became of it. Raises LinkDown."""
        default = not self.profile.tcp
        message = messages.event(
            self.next_mid(),
            name,
            data,
            confirmable={AckMode.DEFAULT: default, AckMode.WITH_ACK: True, AckMode.NO_ACK: False}[ack],
            ttl=ttl,
            old_max_age=self.profile.scoped_subscriptions,
        )
        if self._ended.done():
            publication.state = PublishState.FAILED
            return
        self._publications[message.mid] = publication
        if ack is AckMode.WITH_ACK:
            self.confirm(message, lambda reply: self._published(message.mid, accepted(reply)))
            self.clock.call_later(self.timing.publish_ack, self._published, message.mid, False)
        else:
            self.respond(message)
            self._published(message.mid, True)

    def _published(self, mid: int, done: bool) -> None:
        publication = self._publications.pop(mid, None)
        if publication is not None:
            publication.state = PublishState.OK if done else PublishState.FAILED

    async def say_goodbye(self, content: Goodbye) -> None:
        """Take leave; the DTLS session stays valid."""
        message = messages.goodbye(self.next_mid(), content, confirmable=not self.profile.tcp)
        if self.profile.tcp:
            self.send(message)
        else:
            await self.confirmed(message)

    # -- what comes in -----------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            data = await self.link.receive()
            if self._last_ping > self._last_heard:
                self.wake_timers()  # they wait for the end of the ping's time
            self._last_heard = self.clock.monotonic()
            self.cache.restores = 0
            try:
                self._incoming(coap.decode(data))
            except WireError as error:
                self.facts.log(f"message from the cloud not understood: {error.what}")
            self._save()
            await asyncio.sleep(0)  # a socket that is never empty must not starve the timers

    def _incoming(self, message: Message) -> None:
        kind = messages.classify(message)
        if message.type is Type.RST and not self.profile.tcp:
            raise LinkDown("RST from the server", erase=True)
        if message.type is Type.ACK:
            self._acknowledged(message)
            self.requests.acknowledged(message)
        elif self._hello_mid is not None:
            return
        elif kind is Kind.HELLO:
            self.app.boot.update_told = True
            self.server_hello.set()
            if message.type is Type.CON:
                self.send(coap.empty_ack(message.mid))
        else:
            self.requests.handle(message, kind)

    def _acknowledged(self, message: Message) -> None:
        self._retransmitter.acknowledge(message.mid)
        if message.mid == self._hello_mid:
            self._hello_mid = None
        on_reply = self._pending.pop(message.mid, None)
        if on_reply is not None:
            on_reply(message)
        self._tell_connected()
        if message.code == Code.CONTENT:
            # Device OS takes every 2.05 for the time.
            self.facts.log(f"time set to {messages.parse_time_reply(message)}")

    # -- timers ------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            self._timers.clear()
            now = self.clock.monotonic()
            for data in self._retransmitter.due(now):
                self._transmit(data)
            if self._retransmitter.failed(now):
                raise LinkDown("a confirmable message was not acknowledged", erase=True)
            self._ping_if_idle(now)
            self.requests.tick(now)
            await self._sleep_until(self._next_deadline())

    @property
    def _ping_interval(self) -> float:
        given = self.timing.ping_interval
        return self.profile.ping_interval if given is None else given

    @property
    def _ping_timeout(self) -> float:
        given = self.timing.ping_timeout
        return self.profile.ping_timeout if given is None else given

    def _ping_if_idle(self, now: float) -> None:
        if self._last_ping > self._last_heard:
            if now >= self._last_ping + self._ping_timeout:
                raise LinkDown("no answer to a ping")
        elif now >= self._last_heard + self._ping_interval:
            self._last_ping = now
            self.confirm(coap.ping(self.next_mid()))

    def _next_deadline(self) -> float:
        waiting = self._last_ping > self._last_heard
        ping = self._last_ping + self._ping_timeout
        deadlines = [ping if waiting else self._last_heard + self._ping_interval]
        others = (self._retransmitter.next_deadline(), self.requests.next_deadline())
        return min(deadlines + [deadline for deadline in others if deadline is not None])

    async def _sleep_until(self, deadline: float) -> None:
        try:
            async with self.clock.timeout_at(deadline):
                await self._timers.wait()
        except TimeoutError:
            return

    def wake_timers(self) -> None:
        """Some deadline moved."""
        self._timers.set()


def accepted(reply: Message) -> bool:
    """An empty ACK or one with a 2.xx code."""
    return reply.code < Code.BAD_REQUEST
