"""A board and its place at the cloud: provisioned, registered, flashed, online, and away and back again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hil.device.keys import ServerAddress
from hil.device.platforms import UsbMode
from hil.errors import CloudError, HilError, RigError
from hil.observe import announce, verb
from hil.rig import flashing
from hil.rig.board import Board
from hil.rig.images import Image
from hil.rig.provisioning import ServerPublicKeys
from hil.rig.rigfile import RigFile, SlotTable
from hil.usb.discovery import UsbWatcher

if TYPE_CHECKING:
    from hil.cloud.sync.facade import DeviceCloud

ONLINE_WITHIN = 60.0  # seconds; a cellular board needs them, a Wi-Fi board a few
OFFLINE_WITHIN = 15.0
SUBSCRIBED_WITHIN = 10.0
_POLL = 0.02


class CloudBoard(Board):
    """A board that belongs to the cloud of this run. ``flashes`` counts what was really written."""

    def __init__(self, slot: SlotTable, watcher: UsbWatcher, cloud: DeviceCloud, rig: RigFile) -> None:
        super().__init__(slot, watcher)
        self.settle = rig.timing.settle
        self._cloud = cloud
        self._host = rig.cloud.host
        self._registered = False
        self.flashes = 0

    # -- getting ready -----------------------------------------------------------------------------------

    @verb
    def make_ready(self, image: Image, *, online: bool = True) -> None:
        """Give the board the cloud's keys, ``image`` and (unless ``online`` is false) its connection.

        What is right already is left alone. Raises ``RigError`` or ``CloudError`` that name the board.
        """
        self.come_back()
        if not self._registered:
            self.join()
        if not self.runs(image):
            self.put(image)
        if online:
            self.come_online()

    @verb
    def join(self) -> None:
        """Write the cloud's key and address into the board and register the board's key at the cloud."""
        report = self.provision(self._cloud.server_keys, self._server_address)
        self._register(report.public_key)
        self._registered = True

    def runs(self, image: Image) -> bool:
        """Whether the probe on the board says that it is this very build."""
        running = self.firmware()
        return running is not None and (running.app, running.build) == (image.app, image.build)

    def put(self, image: Image) -> None:
        """Flash ``image``."""
        if self.flash(image).written:
            self.flashes += 1

    @verb
    def come_online(self, within: float = ONLINE_WITHIN) -> None:
        """Wait until the board is online; one that stays away is reset once. Raises ``CloudError``."""
        if self._cloud.online(self) and self.probe.connected():
            return
        try:
            self.probe.connect()  # a test may have sent it away
            self._cloud.wait_online(self, within=within / 4)
            self.probe.wait_connected(within / 4)
        except (AssertionError, HilError):
            self.reset()
            try:
                self._cloud.wait_online(self, within=within)
            except AssertionError as error:
                raise CloudError(
                    f"{self} does not come online",
                    expected=f"a session at {self._host} within {within:g} s of a reset",
                    found=str(error),
                    hint="look at the attached cloud and serial logs; is the path to the cloud open?",
                ) from error

    @verb
    def flash_unchecked(self, data: bytes, address: int) -> None:
        """Write whatever ``data`` is, as a bare ``dfu-util`` would; see ``flashing.flash_unchecked``."""
        flashing.flash_unchecked(self, data, address)

    # -- away and back -----------------------------------------------------------------------------------

    @verb
    def disconnect(self) -> None:
        """Have the board say goodbye and stay away."""
        self.probe.disconnect()
        self._cloud.wait_offline(self, within=OFFLINE_WITHIN)

    @verb
    def connect(self) -> None:
        """Have the board come back."""
        mark = self._cloud.mark()
        self.probe.connect()
        self._cloud.wait_online(self, within=ONLINE_WITHIN, since=mark)
        self.probe.wait_connected(ONLINE_WITHIN)

    @verb
    def subscribe(self, prefix: str) -> None:
        """Have the probe subscribe, and wait until the cloud knows."""
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

    @verb
    def restart(self) -> None:
        """Reset the board at once and wait until it is online again."""
        mark = self._cloud.mark()
        self.reset_hard()
        self._cloud.wait_online(self, within=ONLINE_WITHIN, since=mark)
        self.probe.wait_connected(ONLINE_WITHIN)

    @verb
    def reconnect(self) -> None:
        """Go offline and online again."""
        self.disconnect()
        self.connect()

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

    @verb
    def come_back(self) -> None:
        """Bring a board that is not in normal mode (bootloader, just plugged in, listening) there."""
        if not self.present:
            self.wait_ready()
        if self.usb.mode is UsbMode.DFU:
            self.leave_dfu()
        elif self.is_listening():
            self.leave_listening()

    @verb
    def recover(self) -> None:
        """Give a board that fails another start. Raises ``RigError``."""
        self.come_back()
        self.reset_hard()

    @property
    def _server_address(self) -> ServerAddress:
        return ServerAddress(self._host, self.platform.transport.port)

    def _register(self, public_key: bytes) -> None:
        if not self.device_id:
            raise RigError(f"{self} has no device id", hint="name it in the rig file")
        self._cloud.register(
            self.device_id, platform_id=self.platform.id, public_key=public_key, name=self.name
        )
