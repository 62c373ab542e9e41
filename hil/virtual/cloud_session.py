"""One session of a virtual board with the cloud: what Device OS says, in which order, and how it answers.

Protocol fact sheet 2.8, 2.9, 3, 7 and 11. Runs on the asyncio loop of the cloud client; ends by raising LinkDown.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

from hil.errors import WireError
from hil.virtual.apps import ApplicationHost
from hil.virtual.cloud_link import Link, LinkDown, TcpLink
from hil.virtual.cloud_requests import RequestHandler
from hil.virtual.facts import DeviceFacts
from hil.virtual.profile import OTA_CHUNK_SIZE, Profile
from hil.virtual.session_cache import SessionCache
from hil.virtual.wiring import AckMode, Publication, PublishState
from hil.wire import coap, messages
from hil.wire.coap import Block, Message, Type
from hil.wire.hello import Hello, HelloFlag
from hil.wire.messages import DescribeFlag, Goodbye, Kind
from hil.wire.reliability import Retransmitter

SERVER_HELLO_TIMEOUT = 4.0
PUBLISH_ACK_TIMEOUT = 20.0
SYSTEM_PREFIXES = ("particle", "spark")
_DESCRIBE_OVERHEAD = 24  # header, token and options of a Describe message


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
        first_of_boot: bool,
        on_connected: Callable[[], None],
    ) -> None:
        self.facts = facts
        self.profile = profile
        self.link = link
        self.app = app
        self.cache = cache
        self._first_of_boot = first_of_boot
        self._on_connected = on_connected
        self._token = random.randrange(256)
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._retransmitter = Retransmitter()
        self._hello_pending = False
        self._server_hello = asyncio.Event()
        self._last_heard = time.monotonic()
        self._last_ping = 0.0
        self._timers = asyncio.Event()
        self._down: LinkDown | None = None
        self._background: set[asyncio.Task[None]] = set()
        self.requests = RequestHandler(self)

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
        """Send a message that needs no acknowledgement (or whose acknowledgement nobody waits for)."""
        self.link.send(coap.encode(message))
        self._save()

    def confirm(self, message: Message) -> asyncio.Future[Message]:
        """Send a confirmable message; the future gives the ACK (an error ACK too)."""
        data = coap.encode(message)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[message.mid] = future
        if not self.profile.tcp:
            self._retransmitter.track(message.mid, data, time.monotonic())
            self._timers.set()
        self.link.send(data)
        self._save()
        return future

    def _save(self) -> None:
        if not self.profile.tcp:
            self.cache.store(self.facts.backup, self.link.saved_session())

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` beside the session; it ends with it."""

        async def guarded() -> None:
            try:
                await coroutine
            except LinkDown as error:
                self._fail(error)

        task = asyncio.get_running_loop().create_task(guarded())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- the session's life ------------------------------------------------------------------------------

    async def run(self, resumed: bool) -> None:
        """Talk until the link goes down (LinkDown)."""
        tasks = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._keep_time()),
            asyncio.create_task(self._start(resumed)),
        ]
        try:
            done, _ = await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in [*tasks, *self._background]:
                task.cancel()
            await asyncio.gather(*tasks, *self._background, return_exceptions=True)

    async def _start(self, resumed: bool) -> None:
        try:
            hello = self._hello()
            unchanged = resumed and self.cache.hello == _comparable(hello)
            if unchanged:
                await self.confirm(coap.ping(self.next_mid()))
            else:
                await self._say_hello(hello)
            await self._introduce(resumed=unchanged)
            while self._pending:
                await asyncio.wait(list(self._pending.values()))
            self._on_connected()
        except LinkDown as error:
            self._fail(error)

    def _fail(self, error: LinkDown) -> None:
        self._down = error
        self._timers.set()

    def _hello(self) -> Hello:
        flags = self.profile.hello_flags
        if self.facts.ota_succeeded and self._first_of_boot:
            flags |= HelloFlag.OTA_SUCCEEDED
        sizes = self.profile.sizes_in_hello
        return Hello(
            product_id=self.facts.product_id,
            product_version=self.facts.product_version,
            flags=flags,
            platform_id=self.profile.platform.id,
            device_id=(b"" if sizes else None) if self.profile.tcp else self.facts.device_id,
            system_version=self.profile.system_version if sizes else None,
            max_message=self.profile.max_message if sizes else None,
            max_binary=self.profile.max_binary if sizes else None,
            chunk_size=OTA_CHUNK_SIZE if sizes else None,
        )

    async def _say_hello(self, hello: Hello) -> None:
        self.cache.forget_acknowledged()
        if self.profile.tcp:
            if isinstance(self.link, TcpLink):
                self.cache.next_mid = self.link.first_mid
            self.send(hello.message(self.next_mid(), confirmable=False))
            try:
                async with asyncio.timeout(SERVER_HELLO_TIMEOUT):
                    await self._server_hello.wait()
            except TimeoutError as error:
                raise LinkDown("no Hello from the server within 4 s") from error
            return
        self._hello_pending = True
        await self.confirm(hello.message(self.next_mid(), confirmable=True))
        self._hello_pending = False
        self.cache.hello = _comparable(hello)

    async def _introduce(self, *, resumed: bool) -> None:
        """Everything that follows the Hello or the resume ping, in the order of fact sheet 11.2."""
        if not resumed:
            await self._post_describe(DescribeFlag.SYSTEM)
            if claim_code := self.facts.claim_code():
                self.system_event("spark/device/claim/code", claim_code)
            if self.profile.time_request_first:
                self._request_time()
            for name, data in self.profile.hardware_events:
                self.system_event(name, data)
        if self.facts.safe_mode:
            self.system_event("spark/device/safemode", "")
        if self._first_of_boot and (not resumed or self.profile.last_reset_on_resume):
            self.system_event("spark/device/last_reset", self.facts.last_reset_reason)
        self.system_event("particle/device/updates/enabled", "true")
        self.system_event("particle/device/updates/forced", "false")
        if not resumed and not self.profile.time_request_first:
            self._request_time()
        await asyncio.to_thread(self.app.setup_done.wait, 5)
        await self.announce_application()

    # -- what the board says -----------------------------------------------------------------------------

    def system_payload(self) -> tuple[bytes, int | None]:
        """The system Describe of this release and its Content-Format."""
        describe = self.facts.system_describe()
        if self.profile.describe_protobuf:
            return describe.to_protobuf(), coap.ContentFormat.OCTET_STREAM
        return describe.to_json(), None

    async def announce_application(self) -> None:
        """Application Describe and subscriptions, each only when the server does not have it yet."""
        payload = self.app.describe().to_json()
        if self.cache.application_crc != zlib.crc32(payload):
            await self._post_describe(DescribeFlag.APPLICATION)
        prefixes = (*SYSTEM_PREFIXES, *self.app.prefixes())
        checksum = zlib.crc32("\n".join(prefixes).encode())
        if self.cache.subscriptions_crc == checksum:
            return
        acknowledged = [self.confirm(self._subscription(prefix)) for prefix in prefixes]
        replies = await asyncio.gather(*acknowledged)
        if all(_accepted(reply) for reply in replies):
            self.cache.subscriptions_crc = checksum
            self._save()

    def _subscription(self, prefix: str) -> Message:
        query = b"u" if self.profile.scoped_subscriptions else None
        return messages.subscribe(self.next_mid(), prefix, query=query)

    async def _post_describe(self, flag: DescribeFlag) -> None:
        if flag is DescribeFlag.SYSTEM:
            payload, content_format = self.system_payload()
        else:
            payload, content_format = self.app.describe().to_json(), None
        size = self.profile.describe_block_size
        if size and len(payload) + _DESCRIBE_OVERHEAD > self.profile.max_message:
            reply = await self._post_blocks(flag, payload, content_format, size)
        else:
            token = self.next_token() if self.profile.describe_has_token else b""
            message = messages.describe_post(self.next_mid(), token, flag, payload, content_format)
            reply = await self.confirm(message)
        if _accepted(reply):
            if flag is DescribeFlag.SYSTEM:
                self.cache.system_crc = zlib.crc32(payload)
            else:
                self.cache.application_crc = zlib.crc32(payload)
            self._save()

    async def _post_blocks(
        self, flag: DescribeFlag, payload: bytes, content_format: int | None, size: int
    ) -> Message:
        count = -(-len(payload) // size)
        exponent = size.bit_length() - 5
        reply = coap.empty_ack(0)
        for number in range(count):
            part = payload[number * size : (number + 1) * size]
            block = Block(number, number < count - 1, exponent)
            message = messages.describe_post(
                self.next_mid(), self.next_token(), flag, part, content_format, block
            )
            reply = await self.confirm(message)
            if not _accepted(reply):
                break
        return reply

    def system_event(self, name: str, data: str) -> None:
        """A system event: CON on DTLS, NON on TCP."""
        confirmable = not self.profile.tcp
        message = messages.event(self.next_mid(), name, data.encode(), confirmable=confirmable)
        if confirmable:
            self.confirm(message)
        else:
            self.send(message)

    def _request_time(self) -> None:
        self.confirm(messages.time_request(self.next_mid(), self.next_token()))

    def publish(self, name: str, data: bytes, ttl: int, ack: AckMode, publication: Publication) -> None:
        """Publish an application event; ``publication`` learns what became of it."""
        default = not self.profile.tcp
        confirmable = {AckMode.DEFAULT: default, AckMode.WITH_ACK: True, AckMode.NO_ACK: False}[ack]
        message = messages.event(
            self.next_mid(),
            name,
            data,
            confirmable=confirmable,
            ttl=ttl,
            old_max_age=self.profile.scoped_subscriptions,
        )
        if not confirmable:
            self.send(message)
            publication.state = PublishState.OK
            return
        future = self.confirm(message)
        if ack is not AckMode.WITH_ACK:
            publication.state = PublishState.OK
            return

        async def wait() -> None:
            try:
                async with asyncio.timeout(PUBLISH_ACK_TIMEOUT):
                    reply = await asyncio.shield(future)
                publication.state = PublishState.OK if _accepted(reply) else PublishState.FAILED
            except TimeoutError:
                publication.state = PublishState.FAILED

        self.spawn(wait())

    async def say_goodbye(self, content: Goodbye, timeout: float) -> None:
        """Take leave; the DTLS session stays valid."""
        message = messages.goodbye(self.next_mid(), content, confirmable=not self.profile.tcp)
        if self.profile.tcp:
            self.send(message)
            return
        future = self.confirm(message)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(future)
        except TimeoutError:
            return

    # -- what comes in -----------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            data = await self.link.receive()
            self._last_heard = time.monotonic()
            self.cache.restores = 0
            try:
                message = coap.decode(data)
            except WireError:
                continue
            self._incoming(message)
            self._save()

    def _incoming(self, message: Message) -> None:
        kind = messages.classify(message)
        if kind is Kind.RESET and not self.profile.tcp:
            raise LinkDown("RST from the server", erase=True)
        if message.type is Type.ACK:
            self._acknowledged(message)
            self.requests.acknowledged(message)
        elif self._hello_pending:
            return  # while waiting for the Hello's ACK everything else is dropped
        elif kind is Kind.HELLO:
            self._server_hello.set()
            if message.type is Type.CON:
                self.send(coap.empty_ack(message.mid))
        else:
            self.requests.handle(message, kind)

    def _acknowledged(self, message: Message) -> None:
        self._retransmitter.acknowledge(message.mid)
        future = self._pending.pop(message.mid, None)
        if future is not None and not future.done():
            future.set_result(message)

    # -- timers ------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            self._timers.clear()
            now = time.monotonic()
            if self._down is not None:
                raise self._down
            for data in self._retransmitter.due(now):
                self.link.send(data)
            if self._retransmitter.failed(now):
                raise LinkDown("a confirmable message was not acknowledged", erase=True)
            self._ping_if_idle(now)
            self.requests.tick(now)
            await self._sleep_until(self._next_deadline())

    def _ping_if_idle(self, now: float) -> None:
        if self._last_ping > self._last_heard:
            if now - self._last_ping >= self.profile.ping_timeout:
                raise LinkDown("no answer to a ping")
        elif now - self._last_heard >= self.profile.ping_interval:
            self._last_ping = now
            self.confirm(coap.ping(self.next_mid()))

    def _next_deadline(self) -> float:
        waiting = self._last_ping > self._last_heard
        ping = self._last_ping + self.profile.ping_timeout
        deadlines = [ping if waiting else self._last_heard + self.profile.ping_interval]
        others = (self._retransmitter.next_deadline(), self.requests.next_deadline())
        return min(deadlines + [deadline for deadline in others if deadline is not None])

    async def _sleep_until(self, deadline: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._timers.wait()
        except TimeoutError:
            return

    def wake_timers(self) -> None:
        """Some deadline moved."""
        self._timers.set()


def _accepted(reply: Message) -> bool:
    """An empty ACK or one with a 2.xx code."""
    return reply.code < 0x80


def _comparable(hello: Hello) -> str:
    """The Hello as it decides between resuming quietly and saying Hello again."""
    if hello.flags & HelloFlag.OTA_SUCCEEDED:
        return ""  # a board fresh from an update never resumes quietly
    return hello.encode().hex()
