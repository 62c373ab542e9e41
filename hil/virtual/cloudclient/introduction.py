"""What a board says of itself on a new or resumed session: Hello, Describe, system events, subscriptions.

Orders and habits: protocol fact sheet 3.2, 3.3, 3.5, 7 and 11.2. Only the Hello waits for its ACK; everything else goes
out in one run, and a checksum is kept for each part that the server acknowledged (2.7).
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import replace
from typing import Protocol

from hil.virtual.app.apps import Subscription
from hil.virtual.cloudclient.conversation import Conversation
from hil.virtual.cloudclient.link import Link, LinkDown, TcpLink
from hil.virtual.cloudclient.timing import Timing
from hil.virtual.hardware.profile import OTA_CHUNK_SIZE
from hil.virtual.hardware.session_cache import SessionCache
from hil.wire import messages
from hil.wire.coap import message as coap
from hil.wire.coap.message import Block, Code, Message
from hil.wire.messages import DescribeFlag
from hil.wire.messages.hello import Hello, HelloFlag

SYSTEM_PREFIXES = ("particle", "spark")
_DESCRIBE_OVERHEAD = 24  # header, token and options of a Describe message


class Opening(Conversation, Protocol):
    """What the first words need of their session beside the means to say them."""

    @property
    def link(self) -> Link: ...

    @property
    def cache(self) -> SessionCache: ...

    @property
    def timing(self) -> Timing: ...

    @property
    def server_hello(self) -> asyncio.Event:
        """Set once the server said Hello."""

    def next_token(self) -> bytes:
        """A fresh token of 1 byte."""

    async def confirmed(self, message: Message) -> Message:
        """Send a confirmable message and wait for its ACK. Raises LinkDown."""

    async def confirmed_hello(self, message: Message) -> None:
        """Send the Hello and wait for its ACK. Raises LinkDown."""


class Introduction:
    """The first words of one session, and what is added to them later."""

    def __init__(self, session: Opening) -> None:
        self._session = session
        self._boot = session.app.boot
        self._system_said = False
        self._application_said = False
        self._subscribing: set[int] = set()
        self._subscription_refused = False
        self._told: list[str] = []  # prefixes the server was told, or knows from the session resumed
        self._newest = 0  # serial number of the last of the application's subscriptions among them

    async def run(self, resumed: bool) -> None:
        """Say everything; without Hello and Describe when a resumed session has nothing new."""
        hello = self._hello()
        quiet = resumed and self._unchanged(hello)
        if quiet:
            self._session.confirm(coap.ping(self._session.next_mid()))
        else:
            await self._say_hello(hello)
            await self._post_describe(DescribeFlag.SYSTEM)
        self._say_system_events(quiet)
        self._system_said = True
        await self.application_ready()

    async def application_ready(self) -> None:
        """Announce the application, once it may be and the system has had its say."""
        if self._application_said or not self._system_said or not self._session.app.ready:
            return
        self._application_said = True
        checksum = zlib.crc32(self._session.app.describe().to_json())
        if self._session.cache.application_crc != checksum:
            await self._post_describe(DescribeFlag.APPLICATION)
        self._subscribe_all()

    # -- Hello -------------------------------------------------------------------------------------------

    def _hello(self) -> Hello:
        session = self._session
        facts, profile = session.facts, session.profile
        flags = profile.hello_flags
        if facts.ota_succeeded and not self._boot.update_told:
            flags |= HelloFlag.OTA_SUCCEEDED
        sizes = profile.sizes_in_hello
        return Hello(
            product_id=facts.product_id,
            product_version=facts.product_version,
            flags=flags,
            platform_id=profile.platform.id,
            device_id=(b"" if sizes else None) if profile.tcp else facts.device_id,
            system_version=profile.system_version if sizes else None,
            max_message=profile.max_message if sizes else None,
            max_binary=profile.max_binary if sizes else None,
            chunk_size=OTA_CHUNK_SIZE if sizes else None,
        )

    def _unchanged(self, hello: Hello) -> bool:
        """Whether the resumed session knows all that Hello and system Describe say.

        The first session after an update says Hello in any case, for its flag.
        """
        if HelloFlag.OTA_SUCCEEDED in hello.flags and not self._boot.hello_said:
            return False
        cache = self._session.cache
        payload, _ = self.system_payload()
        return cache.hello == _comparable(hello) and cache.system_crc == zlib.crc32(payload)

    async def _say_hello(self, hello: Hello) -> None:
        session = self._session
        session.cache.forget_acknowledged()
        if session.profile.tcp:
            await self._say_hello_on_tcp(hello)
        else:
            await session.confirmed_hello(hello.message(session.next_mid(), confirmable=True))
        session.cache.hello = _comparable(hello)
        self._boot.hello_said = True

    async def _say_hello_on_tcp(self, hello: Hello) -> None:
        session = self._session
        if isinstance(session.link, TcpLink):
            session.cache.next_mid = session.link.first_mid
        session.send(hello.message(session.next_mid(), confirmable=False))
        try:
            async with session.facts.clock.on_loop().timeout(session.timing.server_hello):
                await session.server_hello.wait()
        except TimeoutError as error:
            raise LinkDown("no Hello from the server in time") from error

    # -- system events -----------------------------------------------------------------------------------

    def _say_system_events(self, quiet: bool) -> None:
        session = self._session
        profile = session.profile
        if not quiet:
            if claim_code := session.facts.claim_code():
                session.system_event("spark/device/claim/code", claim_code)
            if profile.time_request_first:
                self._request_time()
            for name, data in profile.hardware_events:
                session.system_event(name, data)
        if session.facts.safe_mode:
            session.system_event("spark/device/safemode", "")
        if not self._boot.last_reset_told and (not quiet or profile.last_reset_on_resume):
            self._boot.last_reset_told = True
            session.system_event("spark/device/last_reset", session.facts.last_reset_reason)
        session.system_event("particle/device/updates/enabled", "true")
        session.system_event("particle/device/updates/forced", "false")
        if not quiet and not profile.time_request_first:
            self._request_time()

    def _request_time(self) -> None:
        session = self._session
        session.confirm(messages.time_request(session.next_mid(), session.next_token()))

    # -- Describe ----------------------------------------------------------------------------------------

    def system_payload(self) -> tuple[bytes, int | None]:
        """The system Describe of this release and its Content-Format."""
        describe = self._session.facts.system_describe()
        if self._session.profile.describe_protobuf:
            return describe.to_protobuf(), coap.ContentFormat.OCTET_STREAM
        return describe.to_json(), None

    def application_payload(self) -> bytes:
        """The application Describe."""
        return self._session.app.describe().to_json()

    def block_size(self, payload: bytes) -> int:
        """Size of the blocks in which ``payload`` has to travel; 0 when it goes in one message."""
        profile = self._session.profile
        fits = len(payload) + _DESCRIBE_OVERHEAD <= profile.max_message
        return 0 if fits else profile.describe_block_size

    async def _post_describe(self, flag: DescribeFlag) -> None:
        if flag is DescribeFlag.SYSTEM:
            payload, content_format = self.system_payload()
        else:
            payload, content_format = self.application_payload(), None

        def described(reply: Message) -> None:
            if reply.code >= Code.BAD_REQUEST:
                return
            if flag is DescribeFlag.SYSTEM:
                self._session.cache.system_crc = zlib.crc32(payload)
            else:
                self._session.cache.application_crc = zlib.crc32(payload)

        if size := self.block_size(payload):
            described(await self._post_blocks(flag, payload, content_format, size))
            return
        session = self._session
        token = session.next_token() if session.profile.describe_has_token else b""
        message = messages.describe_post(session.next_mid(), token, flag, payload, content_format)
        session.confirm(message, described)

    async def _post_blocks(
        self, flag: DescribeFlag, payload: bytes, content_format: int | None, size: int
    ) -> Message:
        """Send block after block, each once the one before is acknowledged; the last ACK."""
        session = self._session
        count = -(-len(payload) // size)
        reply = coap.empty_ack(0)
        for number in range(count):
            part = payload[number * size : (number + 1) * size]
            block = Block(number, number < count - 1, szx(size))
            mid, token = session.next_mid(), session.next_token()
            message = messages.describe_post(mid, token, flag, part, content_format, block)
            reply = await session.confirmed(message)
            if reply.code >= Code.BAD_REQUEST:
                break
        return reply

    # -- subscriptions -----------------------------------------------------------------------------------

    def _subscribe_all(self) -> None:
        subscriptions = self._session.app.registered_subscriptions()
        self._newest = max((subscription.serial for subscription in subscriptions), default=0)
        self._told = [*SYSTEM_PREFIXES, *(subscription.prefix for subscription in subscriptions)]
        if self._session.cache.subscriptions_crc != self._checksum():
            for prefix in self._told:
                self._send_subscription(prefix)

    def subscribe_late(self, subscription: Subscription) -> None:
        """The application subscribed while online: only that is new. Raises LinkDown."""
        if self._told and subscription.serial > self._newest:
            self._newest = subscription.serial
            self._told.append(subscription.prefix)
            self._send_subscription(subscription.prefix)

    def unsubscribed(self) -> None:
        """The application dropped its handlers; the server is not told."""
        del self._told[len(SYSTEM_PREFIXES) :]

    def _send_subscription(self, prefix: str) -> None:
        session = self._session
        query = b"u" if session.profile.scoped_subscriptions else None
        message = messages.subscribe(session.next_mid(), prefix, query=query)
        self._subscribing.add(message.mid)

        def subscribed(reply: Message) -> None:
            self._subscribing.discard(message.mid)
            self._subscription_refused |= reply.code >= Code.BAD_REQUEST
            if not self._subscribing and not self._subscription_refused:
                session.cache.subscriptions_crc = self._checksum()

        session.confirm(message, subscribed)

    def _checksum(self) -> int:
        return zlib.crc32("\n".join(self._told).encode())


def szx(size: int) -> int:
    """The exponent with which a Block option names a block of ``size`` bytes."""
    return size.bit_length() - 5


def _comparable(hello: Hello) -> str:
    """The Hello as it decides between resuming quietly and saying Hello again."""
    return replace(hello, flags=hello.flags & ~HelloFlag.OTA_SUCCEEDED).encode().hex()
