"""The cloud connection of a virtual board: connects, stays connected, backs off, on a thread of its own.

Protocol fact sheet 2.7 (when a session is taken up again) and 7 (states, back-off).
"""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from hil.virtual.apps import MAX_NAME, ApplicationHost
from hil.virtual.cloud_link import BoardNetwork, DtlsLink, LinkDown, TcpLink
from hil.virtual.cloud_session import CloudSession
from hil.virtual.facts import DeviceFacts
from hil.virtual.profile import Profile
from hil.virtual.session_cache import (
    MAX_RESTORES,
    SessionCache,
    erase_session,
    keys_checksum,
    saved_session,
)
from hil.virtual.wiring import AckMode, Publication, PublishState
from hil.wire.messages import CloudReason, Goodbye

RATE_BURST = 4  # application events: the fifth within a second of the first is refused (fact sheet 6)
RATE_WINDOW = 1.0
GOODBYE_TIMEOUT = {True: 1.0, False: 5.0}  # seconds to wait for the goodbye's ACK, by "is a reset"


class CloudState(IntEnum):
    """Numbers of control request 300."""

    DISCONNECTED = 0
    CONNECTING = 1
    CONNECTED = 2
    DISCONNECTING = 3


class CloudClient:
    """The cloud connection of one start of the board; a reset makes a new one."""

    def __init__(self, facts: DeviceFacts, network: BoardNetwork, app: ApplicationHost) -> None:
        self._facts = facts
        self._network = network
        self._app = app
        self._profile = Profile(facts.platform, facts.device_os)
        self.state = CloudState.DISCONNECTED
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="cloud-client", daemon=True)
        self._wanted = asyncio.Event()
        self._left = asyncio.Event()
        self._closing = False
        self._attempts = 0
        self._first_of_boot = True
        self._session: CloudSession | None = None
        self._recent: deque[float] = deque(maxlen=RATE_BURST + 1)
        app.bind_cloud(self)

    # -- what the machine and the application ask ----------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self.state is CloudState.CONNECTED

    def start(self, auto_connect: bool = True) -> None:
        """Start the thread; with ``auto_connect`` dial at once."""
        self._thread.start()
        if auto_connect:
            self.connect()

    def connect(self) -> None:
        """Dial, and keep dialling."""
        self._call(self._wanted.set)

    def disconnect(self) -> None:
        """Say goodbye and stay away until told to connect."""
        self._call(self._leave, Goodbye(cloud_reason=CloudReason.USER), False)

    def drop(self) -> None:
        """Stop the cloud at once without a goodbye (the forced disconnect of control request 302)."""
        self._call(self._cut)

    def stop(self, goodbye_reason: str | None = None, *, reset_code: int | None = None) -> None:
        """End with this start of the board. ``goodbye_reason`` is ``reset``, ``sleep`` or nothing at power loss."""
        self._closing = True
        content = None
        if goodbye_reason is not None:
            reason = CloudReason.SLEEP if goodbye_reason == "sleep" else CloudReason.RESET
            content = Goodbye(cloud_reason=reason, reset_reason=reset_code)
        self._call(self._leave, content, True)
        if threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join(timeout=3)

    def publish(self, name: str, data: bytes, *, ttl: int, ack: AckMode) -> Publication:
        """Publish; refused when offline, too long, too often or in the middle of an update."""
        if not self._may_publish(name, data):
            return Publication(PublishState.REFUSED)
        publication = Publication()
        self._call(self._publish, name, data, ttl, ack, publication)
        return publication

    def _may_publish(self, name: str, data: bytes) -> bool:
        session = self._session
        if not self.connected or session is None or session.requests.updating:
            return False
        if not 0 < len(name.encode()) <= MAX_NAME or len(data) > self._profile.max_data:
            return False
        now = time.monotonic()
        self._recent.append(now)  # a refused attempt takes a place as well
        return len(self._recent) <= RATE_BURST or now - self._recent[0] >= RATE_WINDOW

    def subscriptions_changed(self) -> None:
        """The application subscribed to something more."""
        self._call(self._announce)

    # -- on the loop -----------------------------------------------------------------------------------------

    def _call(self, function: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        finally:
            self._loop.close()
            self.state = CloudState.DISCONNECTED

    async def _live(self) -> None:
        while not await self._told_to_end():
            self._left.clear()
            self.state = CloudState.CONNECTING
            connection = asyncio.create_task(self._connect_once())
            leaving = asyncio.create_task(self._left.wait())
            await asyncio.wait([connection, leaving], return_when=asyncio.FIRST_COMPLETED)
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

    async def _back_off(self) -> None:
        """1 s for five attempts, then 2 s for five, 4 s and so on to 128 s (fact sheet 7)."""
        delay = min(128.0, 2.0 ** (max(0, self._attempts - 1) // 5))
        try:
            async with asyncio.timeout(delay):
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
                cache.forget_acknowledged()
            session = CloudSession(
                self._facts,
                self._profile,
                link,
                self._app,
                cache,
                first_of_boot=self._first_of_boot,
                on_connected=self._connected,
            )
            self._session = session
            await session.run(resumed)
        except LinkDown as error:
            self._facts.log(f"cloud connection down: {error.reason}")
            if error.erase:
                erase_session(self._facts.backup)
        finally:
            link.close()

    def _link(self, cache: SessionCache) -> TcpLink | DtlsLink:
        if self._profile.tcp:
            return TcpLink(self._facts, self._network)
        return DtlsLink(self._facts, self._network, self._profile, self._resumable(cache))

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
        self.state = CloudState.CONNECTED
        self._attempts = 0
        self._first_of_boot = False
        self._facts.log("cloud connected")

    def _publish(self, name: str, data: bytes, ttl: int, ack: AckMode, publication: Publication) -> None:
        if self._session is None:
            publication.state = PublishState.FAILED
            return
        try:
            self._session.publish(name, data, ttl, ack, publication)
        except LinkDown:
            publication.state = PublishState.FAILED

    def _announce(self) -> None:
        if self._session is not None and self.connected:
            self._session.spawn(self._session.announce_application())

    def _cut(self) -> None:
        self._wanted.clear()
        self._left.set()

    def _leave(self, content: Goodbye | None, ending: bool) -> None:
        session = self._session
        if content is None or session is None or not self.connected:
            self._gone(ending)
            return
        self.state = CloudState.DISCONNECTING

        async def leave() -> None:
            try:
                await session.say_goodbye(content, GOODBYE_TIMEOUT[ending])
            except LinkDown:
                pass
            finally:
                self._gone(ending)

        session.spawn(leave())

    def _gone(self, ending: bool) -> None:
        if ending:
            self._wanted.set()  # lets the loop see that it is to end
        else:
            self._wanted.clear()
        self._left.set()
