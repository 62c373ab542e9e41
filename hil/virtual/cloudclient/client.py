"""The cloud connection of a virtual board: connects, stays connected, backs off, on a thread of its own.

Protocol fact sheet 2.7 (when a session is taken up again) and 7 (states, back-off).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import zlib
from collections.abc import Callable

from hil.device.requests import CloudState
from hil.virtual.app.apps import MAX_NAME, ApplicationHost, Subscription
from hil.virtual.app.wiring import AckMode, Publication, PublishState
from hil.virtual.cloudclient.link import BoardNetwork, DtlsLink, LinkDown, TcpLink
from hil.virtual.cloudclient.rate_limit import PublishRate
from hil.virtual.cloudclient.session import CloudSession
from hil.virtual.cloudclient.timing import Timing
from hil.virtual.hardware.facts import DeviceFacts
from hil.virtual.hardware.profile import Profile
from hil.virtual.hardware.session_cache import (
    MAX_RESTORES,
    SessionCache,
    erase_session,
    keys_checksum,
    saved_session,
)
from hil.wire.messages import MAX_TTL, CloudReason, Goodbye

_LOG = logging.getLogger(__name__)
ATTEMPTS_PER_STEP = 5
BACK_OFF_STEPS = 7  # 1 s doubled seven times: 128 s


class CloudClient:
    """The cloud connection of one start of the board; a reset makes a new one."""

    def __init__(
        self,
        facts: DeviceFacts,
        network: BoardNetwork,
        app: ApplicationHost,
        *,
        timing: Timing | None = None,
    ) -> None:
        self._facts = facts
        self._network = network
        self._app = app
        self._timing = timing or Timing()
        self._clock = facts.clock.on_loop()
        self._profile = Profile(facts.platform, facts.device_os)
        self.state = CloudState.DISCONNECTED
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="cloud-client", daemon=True)
        self._wanted = asyncio.Event()
        self._left = asyncio.Event()
        self._cut = asyncio.Event()
        self._farewell: Goodbye | None = None
        self._closing = False
        self._attempts = 0
        self._session: CloudSession | None = None
        self._rate = PublishRate()
        app.bind_cloud(self)

    # -- what the machine and the application ask ----------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self.state is CloudState.CONNECTED

    def start(self, auto_connect: bool = True) -> None:
        """Start the thread; with ``auto_connect`` dial at once."""
        if auto_connect:
            self.connect()
        self._thread.start()

    def connect(self) -> None:
        """Dial, and keep dialling."""
        self._call(self._wanted.set)

    def disconnect(self) -> None:
        """Say goodbye and stay away until told to connect."""
        reason = CloudReason.LISTENING if self._facts.listening else CloudReason.USER
        self._call(self._leave, Goodbye(cloud_reason=reason))

    def drop(self) -> None:
        """Stop the cloud at once without a goodbye (the forced disconnect of control request 302)."""
        self._call(self._leave, None)

    def stop(
        self,
        goodbye_reason: str | None = None,
        *,
        reset_code: int | None = None,
        sleep_seconds: int | None = None,
    ) -> None:
        """End with this start of the board. ``goodbye_reason`` is ``reset``, ``sleep`` or nothing at power loss."""
        content = None
        if goodbye_reason is not None:
            reason = CloudReason.SLEEP if goodbye_reason == "sleep" else CloudReason.RESET
            content = Goodbye(cloud_reason=reason, reset_reason=reset_code, sleep_seconds=sleep_seconds)
        self._closing = True
        if self._thread.ident is None:
            self._loop.close()
            return
        self._call(self._end, content)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=3)

    def publish(self, name: str, data: bytes, *, ttl: int, ack: AckMode) -> Publication:
        """Publish; refused when offline, too long, too often or in the middle of an update."""
        if not self._may_publish(name, data, ttl):
            return Publication(PublishState.REFUSED)
        publication = Publication()
        if not self._call(self._publish, name, data, ttl, ack, publication):
            publication.state = PublishState.FAILED
        return publication

    def _may_publish(self, name: str, data: bytes, ttl: int) -> bool:
        session = self._session
        if not self.connected or session is None or session.requests.updating:
            return False
        if not 0 < len(name.encode()) <= MAX_NAME or len(data) > self._profile.max_data:
            return False
        return 0 <= ttl <= MAX_TTL and self._rate.allows(name, self._clock.monotonic())

    def subscribed(self, subscription: Subscription) -> None:
        """The application subscribed to something more."""
        self._call(self._with_session, lambda session: session.introduction.subscribe_late(subscription))

    def unsubscribed(self) -> None:
        """The application dropped its subscriptions."""
        self._call(self._with_session, lambda session: session.introduction.unsubscribed())

    def application_ready(self) -> None:
        """``setup()`` is done: the application may be announced."""
        self._call(self._with_session, lambda session: session.spawn(session.introduction.application_ready))

    # -- on the loop -----------------------------------------------------------------------------------------

    def _call(self, function: Callable[..., None], *args: object) -> bool:
        """Run ``function`` on the loop's thread; false when the client has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return False
        return True

    def _with_session(self, action: Callable[[CloudSession], None]) -> None:
        session = self._session
        if session is not None:
            session.act(lambda: action(session))

    def _publish(self, name: str, data: bytes, ttl: int, ack: AckMode, publication: Publication) -> None:
        session = self._session
        if session is None:
            publication.state = PublishState.FAILED
            return
        session.act(lambda: session.publish(name, data, ttl, ack, publication))

    def _leave(self, farewell: Goodbye | None) -> None:
        self._wanted.clear()
        self._go(farewell)

    def _end(self, farewell: Goodbye | None) -> None:
        self._wanted.set()  # lets the loop see that it is to end
        self._go(farewell)

    def _go(self, farewell: Goodbye | None) -> None:
        """Leave the connection there is; a second call does not wait for the goodbye of the first."""
        if farewell is None or self._left.is_set():
            self._cut.set()
        self._farewell = farewell
        self._left.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
            self._loop.run_until_complete(asyncio.sleep(0))  # what was asked in the last moment fails
        finally:
            self._loop.close()
            self.state = CloudState.DISCONNECTED

    async def _live(self) -> None:
        while not await self._told_to_end():
            self._left.clear()
            self._cut.clear()
            self.state = CloudState.CONNECTING
            connection = asyncio.create_task(self._connect_once())
            leaving = asyncio.create_task(self._left.wait())
            await asyncio.wait([connection, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not connection.done():
                await self._take_leave(connection)
            for task in (connection, leaving):
                task.cancel()
            await asyncio.gather(connection, leaving, return_exceptions=True)
            self._session = None
            self.state = CloudState.DISCONNECTED
            if self._wanted.is_set() and not self._closing:
                await self._back_off()

    async def _told_to_end(self) -> bool:
        await self._wanted.wait()
        return self._closing

    async def _take_leave(self, connection: asyncio.Task[None]) -> None:
        """Say goodbye and wait a little for its ACK, when the board is online and has something to say."""
        session, farewell = self._session, self._farewell
        if farewell is None or session is None or not self.connected:
            return
        self.state = CloudState.DISCONNECTING
        saying = asyncio.create_task(self._say_goodbye(session, farewell))
        cut = asyncio.create_task(self._cut.wait())
        timeout = self._timing.reset_goodbye if self._closing else self._timing.goodbye
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(timeout):
                await asyncio.wait([saying, cut, connection], return_when=asyncio.FIRST_COMPLETED)
        for task in (saying, cut):
            task.cancel()
        await asyncio.gather(saying, cut, return_exceptions=True)

    @staticmethod
    async def _say_goodbye(session: CloudSession, farewell: Goodbye) -> None:
        try:
            await session.say_goodbye(farewell)
        except LinkDown as error:
            session.fail(error)

    async def _back_off(self) -> None:
        """1 s for five attempts, then 2 s for five, 4 s and so on to 128 s (fact sheet 7)."""
        try:
            async with self._clock.timeout(self._timing.back_off * back_off_factor(self._attempts)):
                await self._left.wait()
        except TimeoutError:
            return

    async def _connect_once(self) -> None:
        self._attempts += 1
        cache = SessionCache.load(self._facts.backup)
        link = self._link(cache)
        try:
            resumed = await link.open()
            if not resumed:
                self._begin_anew(cache)
            self._app.boot.dialled = True
            session = CloudSession(
                self._facts,
                self._profile,
                link,
                self._app,
                cache,
                timing=self._timing,
                on_connected=self._connected,
            )
            self._session = session
            await session.run(resumed)
        except LinkDown as error:
            self._facts.log(f"cloud connection down: {error.reason}")
            if error.erase:
                erase_session(self._facts.backup)
        except Exception as error:
            _LOG.exception("the cloud client of a virtual board broke")
            self._facts.log(f"cloud connection down: internal error: {error!r}")
        finally:
            link.close()

    def _begin_anew(self, cache: SessionCache) -> None:
        """After a handshake. Message ids start at 1 with each start of the board and go on within it."""
        cache.forget_acknowledged()
        cache.restores = 0
        if not self._app.boot.dialled:
            cache.next_mid = 1

    def _link(self, cache: SessionCache) -> TcpLink | DtlsLink:
        if self._profile.tcp:
            return TcpLink(self._facts, self._network)
        return DtlsLink(self._facts, self._network, self._profile, lambda: self._resumable(cache))

    def _resumable(self, cache: SessionCache) -> bytes | None:
        """The saved session when keys and address are the same and it was not restored in vain too often."""
        backup = self._facts.backup
        keys = keys_checksum(self._facts.server_public_der() or b"", self._facts.device_private_der() or b"")
        address = self._facts.server_address()
        address_sum = zlib.crc32(address.encode_record()) if address is not None else 0
        saved = saved_session(backup)
        same = cache.keys_checksum == keys and cache.address_checksum == address_sum
        if saved is None or not same or cache.restores >= MAX_RESTORES:
            erase_session(backup)
            cache.keys_checksum, cache.address_checksum, cache.restores = keys, address_sum, 0
            return None
        cache.restores += 1
        cache.store(backup, None)
        return saved

    def _connected(self) -> None:
        if self._left.is_set():
            return
        self.state = CloudState.CONNECTED
        self._attempts = 0
        self._facts.log("cloud connected")
        self._app.cloud_connected()


def back_off_factor(attempts: int) -> int:
    """How many times the first pause to wait after ``attempts`` attempts in a row: 1, 2, 4 ... 128."""
    step = max(0, attempts - 1) // ATTEMPTS_PER_STEP
    return 1 << min(step, BACK_OFF_STEPS)
