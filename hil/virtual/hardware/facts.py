"""What the parts of a virtual board know of each other: the cloud client's view of the machine it runs on."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Protocol

from hil.clock import Clock
from hil.device.keys import ServerAddress
from hil.device.platforms import Platform
from hil.wire.messages.description import SystemDescribe


class DeviceFacts(Protocol):
    """The machine as the cloud client and the application see it."""

    @property
    def clock(self) -> Clock:
        """The board's time: all its waits of protocol and application follow it."""

    @property
    def platform(self) -> Platform: ...

    @property
    def device_os(self) -> str:
        """The Device OS release, such as ``2.3.1``."""

    @property
    def device_id(self) -> bytes:
        """12 bytes."""

    @property
    def safe_mode(self) -> bool: ...

    @property
    def listening(self) -> bool: ...

    @property
    def ota_succeeded(self) -> bool:
        """Whether this start applied an update (Hello flag 0x01)."""

    @property
    def last_reset_reason(self) -> str:
        """``power_down``, ``pin_reset``, ``update``, ``user``, ``dfu_mode``, ``safe_mode`` and so on."""

    @property
    def backup(self) -> MutableMapping[str, bytes]:
        """Backup RAM: survives resets, lost when power goes."""

    @property
    def product_id(self) -> int: ...

    @property
    def product_version(self) -> int: ...

    def device_private_der(self) -> bytes | None:
        """The private key of the board's transport as it lies in its configuration flash."""

    def server_public_der(self) -> bytes | None:
        """The server key of the board's transport as it lies in its configuration flash."""

    def server_address(self) -> ServerAddress | None:
        """Where to dial; ``None`` when the record cannot be read."""

    def claim_code(self) -> str | None: ...

    def clear_claim_code(self) -> None:
        """The cloud took the claim code: forget it, and call the board claimed."""

    def system_describe(self) -> SystemDescribe: ...

    def validate_update(self, file: bytes) -> int:
        """0, or a negative system error for a file that this board refuses."""

    def apply_update(self, file: bytes) -> None:
        """Store the module and reset with reason ``update``."""

    def request_reset(self, reason: str, *, mode: str = "normal", delay: float = 1.0) -> None:
        """Reset after ``delay`` seconds into ``normal``, ``safe``, ``dfu`` or ``listening``."""

    def request_sleep(self, seconds: float) -> None:
        """Sleep with network and USB off, then go on."""

    def usb_serial_write(self, data: bytes) -> None: ...

    def usb_serial_open(self) -> bool:
        """Whether a host has the serial port open and the application, not the console, writes there."""

    def notice(self, line: str) -> None:
        """One line on the serial port, now and to whoever has it open during this start."""

    def log(self, line: str) -> None:
        """One line for the board's own log."""
