"""A board and its place at the cloud: provisioned, registered, flashed, online, and away and back again.

Whether a board is online is the cloud's word alone: a session of this run, made after the board last restarted or was
sent away, in which it answers. So it holds for any application.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hil.device.keys import ServerAddress
from hil.device.requests import CloudState
from hil.errors import CloudError, HilError, RigError
from hil.observe import announce, verb
from hil.rig.absence import Absence, explain
from hil.rig.board import Board
from hil.rig.images import Image
from hil.rig.modes import Mode
from hil.rig.probe import PROBE, ProbeError
from hil.rig.provisioning import ServerPublicKeys
from hil.rig.rigfile import RigFile, SlotTable
from hil.usb import requests
from hil.usb.control import ControlChannel, RequestTimeout
from hil.usb.discovery import UsbWatcher
from hil.usb.requests import RequestRefused

if TYPE_CHECKING:
    from hil.cloud.sync.facade import DeviceCloud
    from hil.cloud.sync.logs import Mark

ONLINE_WITHIN = 60.0  # seconds; a cellular board needs them, a Wi-Fi board a few
OFFLINE_WITHIN = 15.0
SUBSCRIBED_WITHIN = 10.0
ANSWER_WITHIN = 5.0
SETTLED_WITHIN = 10.0
_POLL = 0.02


class CloudBoard(Board):
    """A board that belongs to the cloud of this run. ``flashes`` counts what was really written."""

    def __init__(self, slot: SlotTable, watcher: UsbWatcher, cloud: DeviceCloud, rig: RigFile) -> None:
        super().__init__(slot, watcher)
        self.settle = rig.timing.settle
        self._cloud = cloud
        self._host = rig.cloud.host
        self._registered = False
        self._left_at: Mark | None = None
        self._restarted_at: Mark | None = None
        self.application.witnesses.append(self._cloud_says)
        self.flashes = 0

    # -- getting ready -----------------------------------------------------------------------------------

    @verb
    def make_ready(self, image: Image | None, *, online: bool = True) -> None:
        """Give the board the cloud's keys, ``image`` and (unless ``online`` is false) its connection.

        With ``None`` whatever application it has is fine. What is right already is left alone. Raises ``RigError`` or
        ``CloudError`` that name the board, and the application when that never connects.
        """
        self.modes.come_back()
        if not self._registered:
            self.join()
        if image is not None:
            self.put(image)
        if online:
            self.come_online(application=str(image) if image is not None else "")

    @verb
    def join(self) -> None:
        """Write the cloud's key and address into the board and register the board's key at the cloud."""
        report = self.provision(self._cloud.server_keys, self._server_address)
        self._register(report.public_key)
        self._registered = True

    def put(self, image: Image) -> None:
        """Flash ``image``, unless the board has it."""
        if self.flash(image).written:
            self.flashes += 1

    @verb
    def leave_healthy(self, image: Image) -> bool:
        """At the end of a run: in normal mode, with an application that Device OS calls valid.

        A sound application stays, whichever it is; in place of any other ``image`` is flashed and verified. True if
        that was necessary. Raises ``RigError``.
        """
        self.modes.come_back()
        healthy = self.application.healthy()
        if healthy or (healthy is None and self.firmware() is not None):
            return False
        self.flashes += 1
        self.flash(image, force=True)
        return True

    @verb
    def recover(self) -> None:
        """Give a board that fails another start. Raises ``RigError``."""
        self.modes.come_back()
        self.reset_hard()

    @verb
    def leave_nothing_in_flight(self) -> None:
        """Have nothing more arrive of what board and cloud have sent each other, such as what a closed path stopped.

        Both repeat it for a minute and more (protocol fact sheet 2.8). A session that has ended carries nothing; the
        board makes another one by itself. A board that has left its session since has forgotten what it sent.
        """
        if not self._registered:
            return
        if self._has_session():
            self._cloud.disconnect(self)
        else:
            self._cloud.abandon(self)

    # -- online ------------------------------------------------------------------------------------------

    @property
    def left_at(self) -> Mark | None:
        """When the board was last told to restart, to listen, to sleep or to disconnect.

        ``cloud.wait_online(board)`` takes no session from before it.
        """
        return self._left_at

    def leaving(self, restarts: bool) -> None:
        """Mark the moment before the board leaves: later the mark might miss an early return."""
        self._left_at = self._cloud.mark()
        if restarts:
            self._restarted_at = self._left_at

    def is_online(self) -> bool:
        """Whether the board answers in a session that it made since it last left."""
        return self._has_session() and self._answers()

    @verb
    def come_online(self, within: float | None = None, application: str = "") -> None:
        """Wait until the board is online; one that stays away is reset once.

        Raises ``CloudError`` that says what was seen of the board, of which ``application`` is a description.
        """
        within = ONLINE_WITHIN if within is None else within
        if not self._comes_by_itself(within / 4):
            began = self.serial.mark()
            self.reset()
            try:
                self._cloud.wait_online(self, within=within)
            except AssertionError as error:
                raise explain(self._absence(application, within, began)) from error
        self._wait_settled()

    def _comes_by_itself(self, within: float) -> bool:
        now = self._cloud.mark()
        since = None
        if self._has_session():
            if self._answers():
                return True
            since = now  # it believes in a session that is none: only another one counts
        elif self._connects():
            with suppress(HilError):
                self._ask_to_connect()  # a test sent it away
        try:
            self._cloud.wait_online(self, within=within, since=since)
        except AssertionError:
            return False
        return True

    def _has_session(self) -> bool:
        return self._cloud.online(self) and self._arrived_since(self._left_at)

    def _answers(self) -> bool:
        return self._cloud.ping(self, timeout=ANSWER_WITHIN)

    def _connects(self) -> bool:
        """Whether the application has connected in this start: one that never does is not to be helped."""
        return self._arrived_since(self._restarted_at)

    def _arrived_since(self, mark: Mark | None) -> bool:
        return any(contact.is_arrival for contact in self._cloud.contacts(self, since=mark))

    def _wait_settled(self) -> None:
        """Wait until Device OS knows as well: the cloud has heard of a session a moment earlier.

        No judgement: a board that does not say so is online all the same.
        """
        deadline = time.monotonic() + SETTLED_WITHIN
        while self.has_control and self._status() is CloudState.CONNECTING and time.monotonic() < deadline:
            time.sleep(_POLL)

    def _status(self) -> CloudState | None:
        """What Device OS says of its connection; ``None`` when it says nothing."""
        if not self.has_control:
            return None
        try:
            return requests.cloud_state(self.control())
        except RigError:
            return None

    def _mode(self) -> Mode | None:
        try:
            return self.modes.current()
        except RigError:  # it does not answer
            return None

    def _absence(self, application: str, within: float, began: int) -> Absence:
        return Absence(
            board=str(self),
            application=application or "whatever it runs",
            host=self._host,
            within=within,
            mode=self._mode(),
            status=self._status(),
            serial=self.serial.text(began).splitlines(),
            cloud=self._cloud.device_log(self, since=self._restarted_at),
        )

    def _cloud_says(self, image: Image) -> bool | None:
        """Whether the board itself, asked by the cloud just now, describes ``image`` as its application."""
        if not self._registered or not self.is_online():
            return None
        try:
            there = self._cloud.describe(self).application_hash
        except HilError:
            return None
        return None if there is None else there == image.module.sha256.hex()

    # -- away and back -----------------------------------------------------------------------------------

    @verb
    def disconnect(self) -> None:
        """Have the board say goodbye and stay away, whatever its application is."""
        self.leaving(False)
        if not self._ask(requests.cloud_disconnect):
            with self._needing_the_probe("board.disconnect()"):
                self.probe.disconnect()
        self._cloud.wait_offline(self, within=OFFLINE_WITHIN)

    @verb
    def connect(self) -> None:
        """Have the board come back, whatever its application is."""
        mark = self._cloud.mark()
        self._ask_to_connect()
        self._cloud.wait_online(self, within=ONLINE_WITHIN, since=mark)
        self._wait_settled()

    @verb
    def reconnect(self) -> None:
        """Go offline and online again."""
        self.disconnect()
        self.connect()

    @verb
    def restart(self) -> None:
        """Reset the board at once and wait until it is online again."""
        self.reset_hard()
        self._cloud.wait_online(self, within=ONLINE_WITHIN)
        self._wait_settled()

    @verb
    def subscribe(self, prefix: str) -> None:
        """Have the probe subscribe, and wait until the cloud knows."""
        with self._needing_the_probe("board.subscribe()"):
            self.probe.subscribe(prefix)
        deadline = time.monotonic() + SUBSCRIBED_WITHIN
        while prefix not in (known := [each.prefix for each in self._cloud.device(self).subscriptions]):
            if time.monotonic() > deadline:
                raise CloudError(
                    f"the cloud did not hear of {self.name}'s subscription",
                    expected=f"prefix {prefix!r} within {SUBSCRIBED_WITHIN:g} s",
                    found=", ".join(known) or "no subscription",
                )
            time.sleep(_POLL)

    def _ask_to_connect(self) -> None:
        if not self._ask(requests.cloud_connect):
            with self._needing_the_probe("board.connect()"):
                self.probe.connect()

    def _ask(self, request: Callable[[ControlChannel], None]) -> bool:
        """Make a control request of the cloud; false where Device OS does not know it (USB fact sheet 4.5)."""
        if not self.has_control:
            return False
        try:
            request(self.control())
        except RequestRefused as error:
            if requests.not_supported(error):
                return False
            raise
        return True

    @contextmanager
    def _needing_the_probe(self, verb: str) -> Iterator[None]:
        """Say so when another application runs than the one that ``verb`` speaks to."""
        try:
            yield
        except (ProbeError, RequestTimeout) as error:
            running = self.firmware() if isinstance(error, ProbeError) else None
            if running is not None and running.app == PROBE:
                raise
            raise RigError(
                f"{verb} needs the probe, and {self} runs another application",
                expected="an answer to a command of the probe",
                found=error.found or error.what,
                hint="drop @pytest.mark.firmware, or have the application itself do it and ask it by cloud.call()",
            ) from error

    # -- keys --------------------------------------------------------------------------------------------

    @contextmanager
    def registered_with(self, public_key: bytes) -> Iterator[None]:
        """For a ``with`` block the cloud takes ``public_key`` (SPKI DER) for the board's; its session is dropped."""
        with announce(self.actor, "registered with another key"):
            self._register(public_key)
            try:
                self._cloud.disconnect(self)
                yield
            finally:
                self._register(self.public_key())

    @contextmanager
    def trusting(self, keys: ServerPublicKeys) -> Iterator[None]:
        """For a ``with`` block the board trusts another cloud's keys."""
        with announce(self.actor, "trusting another cloud"):
            self.provision(keys, self._server_address)
            try:
                yield
            finally:
                self.join()

    @property
    def _server_address(self) -> ServerAddress:
        return ServerAddress(self._host, self.platform.transport.port)

    def _register(self, public_key: bytes) -> None:
        if not self.device_id:
            raise RigError(f"{self} has no device id", hint="name it in the rig file")
        self._cloud.register(
            self.device_id, platform_id=self.platform.id, public_key=public_key, name=self.name
        )
        self._cloud.set_keep_alive(self, self.slot.keep_alive)
