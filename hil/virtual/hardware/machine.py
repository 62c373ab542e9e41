"""The machine of one virtual board: its memories, its settings and what the current start knows of itself.

It is the cloud client's and the application's ``DeviceFacts``. Facts: protocol fact sheet 3.3, 3.8 (reset reasons), 11;
USB fact sheet 5.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hil.clock import Clock, SystemClock
from hil.device.keys import ServerAddress
from hil.device.modules import NO_PRODUCT
from hil.device.platforms import Platform, Radio
from hil.virtual.hardware.factory import factory_module, system_slots, user_slots
from hil.virtual.hardware.flash import Flash, FlashMap
from hil.virtual.hardware.loader import (
    Boot,
    ModuleState,
    Validity,
    boot,
    describe_modules,
    inspect_modules,
    module_at_start,
)
from hil.virtual.hardware.settings import Settings
from hil.virtual.hardware.stored import NETWORK_IN_THE_AIR, Stored
from hil.virtual.hardware.update import Updater
from hil.wire.messages.description import SystemDescribe

_LOG = logging.getLogger(__name__)
_LARGEST_APPLICATION = 256 * 1024
_MODEM = "L0.0.00.00.05.06,A.02.00"

# Reset reasons as spark/device/last_reset names them -> their numbers.
RESET_CODES = {
    "unknown": 10,
    "pin_reset": 20,
    "power_down": 40,
    "update": 70,
    "update_timeout": 90,
    "factory_reset": 100,
    "safe_mode": 110,
    "dfu_mode": 120,
    "user": 140,
}


class Power(Protocol):
    """The part of a board that restarts it."""

    def request_reset(self, reason: str, *, mode: str = "normal", delay: float = 1.0) -> None: ...

    def request_sleep(self, seconds: float) -> None: ...

    def within_start(self, delay: float, job: Callable[[], None]) -> None:
        """Run ``job`` in ``delay`` seconds, unless the board restarted meanwhile."""


class Machine:
    """Flash, settings and facts of one board. Everything survives in ``state_dir`` but the backup RAM.

    ``clock`` is the real time unless told.
    """

    def __init__(
        self,
        platform: Platform,
        device_os: str,
        device_id: str,
        state_dir: Path,
        clock: Clock | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.platform = platform
        self.device_os = device_os
        self.device_id = bytes.fromhex(device_id)
        self.backup: MutableMapping[str, bytes] = {}
        self.listening = False
        self.safe_mode = False
        self.ota_succeeded = False
        self.last_reset_reason = "power_down"
        self.log_lines: list[str] = []
        self.notices: list[str] = []
        self.application_refused = False
        self.power: Power | None = None
        self.ip_address: str | None = None
        self.wifi_network = ""
        self.serial_write: Callable[[bytes], None] = _drop
        self.serial_open: Callable[[], bool] = bool
        self._update_applied = False
        self._stored_path = state_dir / "system.json"
        fresh = not (state_dir / "dct.bin").exists()
        self.memories = open_memories(platform, state_dir)
        self.settings = Settings(self.memories[1], platform)
        self.updater = Updater(platform, device_os, self.internal)
        self.stored = Stored.load(self._stored_path)
        if fresh:
            self._leave_factory()
        self.boot: Boot = boot(platform, device_os, self.internal)

    @property
    def internal(self) -> Flash:
        """Internal flash: bootloader, system parts, applications."""
        return self.memories[0]

    def start(self, reason: str, *, safe: bool, listening: bool) -> Boot:
        """What Device OS does first at every start: count it, check keys and server, look at the modules."""
        self.last_reset_reason = reason
        self.notices.clear()
        self.application_refused = False
        self.backup["boots"] = str(int(self.backup.get("boots", b"0")) + 1).encode()
        self.ota_succeeded, self._update_applied = self._update_applied, False
        self.settings.ensure_device_key()
        if self.settings.check_server(self.device_os):
            self.log("production server restored")
        self.boot = boot(self.platform, self.device_os, self.internal)
        self.safe_mode = safe or self.boot.safe_mode
        self.listening = self._listens_once() or listening
        self.wifi_network = ""
        self.associate()
        return self.boot

    def associate(self) -> None:
        """Have the radio join the network that is there, if it knows it. What it has joined it stays in."""
        if any(known.ssid == NETWORK_IN_THE_AIR for known in self.stored.networks):
            self.wifi_network = NETWORK_IN_THE_AIR

    @property
    def without_credentials(self) -> bool:
        """A Wi-Fi board that knows no network at all: it listens instead of connecting (USB fact sheet 2.1)."""
        return self.platform.radio is Radio.WIFI and not self.stored.networks

    @property
    def on_network(self) -> bool:
        """Whether the radio has a link: always on a cellular board, on a Wi-Fi board once it has joined."""
        return self.platform.radio is not Radio.WIFI or bool(self.wifi_network)

    def refuse_application(self, why: str) -> None:
        """Stay in safe mode: the application cannot run here. The port says why, the module table shows it unmet."""
        self.safe_mode = True
        self.application_refused = True
        self.notice(f"hil: this board runs no application: {why}")

    def modules(self) -> tuple[ModuleState, ...]:
        """Every module the board lists. What a refused application needs is not here: its dependencies are unmet."""
        found = inspect_modules(self.platform, self.device_os, self.internal)
        if not self.application_refused or self.boot.user is None:
            return found
        start = self.boot.user.start
        return tuple(
            replace(state, valid=state.valid & ~Validity.DEPENDENCIES) if state.slot.start == start else state
            for state in found
        )

    def _listens_once(self) -> bool:
        """Whether request 75 asked for listening mode after this start; it asks for one start only."""
        wanted = self.stored.startup_listening
        if wanted:
            self.stored.startup_listening = False
            self.save_stored()
        return wanted

    @property
    def speaks_its_transport(self) -> bool:
        """False for an Electron told to use TCP (USB fact sheet 5.3, byte 2977): a virtual one has UDP only."""
        return self.settings.transport is self.platform.transport

    def remember_product(self) -> None:
        """Keep product id and version of the application about to run: a board in safe mode says its last ones."""
        module = self.boot.user
        if self.safe_mode or module is None:
            return
        product = module.product_id if module.product_id not in (None, NO_PRODUCT) else 0
        version = module.product_version if module.product_version is not None else NO_PRODUCT
        if (product, version) != (self.stored.product_id, self.stored.product_version):
            self.stored.product_id, self.stored.product_version = product or 0, version
            self.save_stored()

    def flush(self) -> None:
        """Write all memories to their files."""
        for memory in self.memories:
            memory.flush()

    def save_stored(self) -> None:
        """Keep ``stored``."""
        self.stored.save(self._stored_path)

    # -- DeviceFacts ---------------------------------------------------------------------------------

    @property
    def product_id(self) -> int:
        return self.stored.product_id or self.platform.id

    @property
    def product_version(self) -> int:
        return self.stored.product_version

    def device_private_der(self) -> bytes | None:
        return self.settings.device_private_der()

    def server_public_der(self) -> bytes | None:
        return self.settings.server_public_der()

    def server_address(self) -> ServerAddress | None:
        return self.settings.server_address()

    def claim_code(self) -> str | None:
        return self.settings.claim_code

    def clear_claim_code(self) -> None:
        self.settings.clear_claim_code()

    def system_describe(self) -> SystemDescribe:
        modules = describe_modules(self.modules())
        cellular = self.platform.radio is Radio.CELLULAR
        return SystemDescribe(
            self.platform.id,
            modules,
            imei=self.imei if cellular else None,
            iccid=self.iccid if cellular else None,
            modem_version=_MODEM if cellular else None,
        )

    def validate_update(self, file: bytes) -> int:
        return self.updater.validate(file)

    def apply_update(self, file: bytes) -> None:
        if not self.updater.apply(file):
            self.log("update refused")
            return
        self._update_applied = True
        self.request_reset("update")

    def factory_reset(self) -> None:
        """Put the application of the factory slot back, if one is there, and restart."""
        memory, address = self.platform.memories.factory_slot
        file = module_at_start(self.memories[memory].read(address, _LARGEST_APPLICATION))
        if file is None or not self.updater.apply(file):
            self.log("factory reset: the factory slot holds no application for this board")
        self.request_reset("factory_reset")

    def request_reset(self, reason: str, *, mode: str = "normal", delay: float = 1.0) -> None:
        if self.power is not None:
            self.power.request_reset(reason, mode=mode, delay=delay)

    def request_sleep(self, seconds: float) -> None:
        if self.power is not None:
            self.power.request_sleep(seconds)

    def usb_serial_write(self, data: bytes) -> None:
        if not self.listening:
            self.serial_write(data)

    def usb_serial_open(self) -> bool:
        return not self.listening and self.serial_open()

    def notice(self, line: str) -> None:
        self.notices.append(line)
        self.log(line)
        self.usb_serial_write(f"{line}\r\n".encode())

    def log(self, line: str) -> None:
        self.log_lines.append(line)
        _LOG.info("%s %s: %s", self.platform.name, self.device_id.hex(), line)

    # -- identity of the radio -------------------------------------------------------------------------

    @property
    def imei(self) -> str:
        """15 digits made from the device id."""
        return f"35{int.from_bytes(self.device_id[4:], 'big') % 10**13:013d}"

    @property
    def iccid(self) -> str:
        """20 digits made from the device id."""
        return f"8934{int.from_bytes(self.device_id, 'big') % 10**16:016d}"

    @property
    def modem_version(self) -> str:
        return _MODEM

    @property
    def mac_address(self) -> str:
        """Wi-Fi or Ethernet address, colon separated."""
        return ":".join(f"{byte:02x}" for byte in (0x02, *self.device_id[-5:]))

    def _leave_factory(self) -> None:
        """Modules, device key, production server, and the numbers on the sticker."""
        slots = (*system_slots(self.platform, self.device_os), user_slots(self.platform, self.device_os)[-1])
        for slot in slots:
            self.internal.program(slot.start, factory_module(self.platform, slot))
        self.settings.ensure_device_key()
        self.settings.restore_production_server()
        if self.platform.family.stickered:
            self.settings.device_secret = f"S{self.device_id.hex()[-14:].upper()}"
            self.stored.serial_number = (
                f"{self.platform.name[:3].upper()}HAB{self.device_id.hex()[-9:].upper()}"
            )
        self.flush()
        self.save_stored()


def open_memories(platform: Platform, state_dir: Path) -> tuple[Flash, ...]:
    """Internal flash, configuration flash and, where there is one, external flash, as kept in ``state_dir``."""
    names = ("internal.bin", "dct.bin", "external.bin")
    return tuple(
        Flash(FlashMap.parse(text), state_dir / name, nor=number != 1)
        for number, (text, name) in enumerate(zip(platform.dfu_alts, names, strict=False))
    )


def _drop(_data: bytes) -> None:
    """Serial output of a board that is not on the bus."""
