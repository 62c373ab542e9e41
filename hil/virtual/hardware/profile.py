"""What a board's Device OS release makes of the protocol: sizes, orders and timers by platform and age.

Figures: protocol fact sheet 3.2, 6 and 11.1 to 11.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.device.platforms import Platform, Radio, Transport, event_data_limit
from hil.device.releases import system_module_version, version_tuple
from hil.wire.dtls import ResumeForm
from hil.wire.messages.hello import HelloFlag

OTA_CHUNK_SIZE = 512


@dataclass(frozen=True, slots=True)
class Profile:
    """One platform with one Device OS release."""

    platform: Platform
    device_os: str

    @property
    def version(self) -> tuple[int, ...]:
        return version_tuple(self.device_os)

    @property
    def tcp(self) -> bool:
        return self.platform.transport is Transport.TCP

    @property
    def system_version(self) -> int:
        """The system module version, which is not the release written as digits."""
        return system_module_version(self.device_os)

    @property
    def max_message(self) -> int:
        """Largest CoAP message in bytes."""
        sizes = self.platform.family.sizes
        return sizes.since_3 if self.version >= (3, 0, 0) else sizes.before_3

    @property
    def max_data(self) -> int:
        """Largest event data and function argument in bytes."""
        return event_data_limit(self.platform, self.device_os)

    @property
    def max_binary(self) -> int:
        """Largest file that an OTA update may have."""
        return self.platform.family.ota_slot

    @property
    def hello_flags(self) -> HelloFlag:
        """Flags without OTA success."""
        flags = (
            HelloFlag.DIAGNOSTICS
            | HelloFlag.IMMEDIATE_UPDATES
            | HelloFlag.GOODBYE
            | HelloFlag.DEVICE_DESCRIBES
        )
        if self.platform.family.compressed_updates:
            flags |= HelloFlag.COMPRESSED_OTA
        if self.ota_v3:
            flags |= HelloFlag.OTA_V3
        return flags

    @property
    def sizes_in_hello(self) -> bool:
        return self.version >= (3, 0, 0)

    @property
    def ota_v3(self) -> bool:
        return self.platform.family.ota_v3 and self.version >= (3, 0, 0)

    @property
    def offers_cid(self) -> bool:
        return self.version >= (3, 1, 0)

    @property
    def resume_form(self) -> ResumeForm:
        """How the first records after a resume are marked (protocol fact sheet 2.7)."""
        if self.version >= (4, 0, 0):
            return ResumeForm.MOVE
        return ResumeForm.CID if self.offers_cid else ResumeForm.DEVICE_ID

    @property
    def describe_has_token(self) -> bool:
        return self.version >= (3, 3, 0)

    @property
    def describe_protobuf(self) -> bool:
        return self.version >= (5, 5, 0)

    @property
    def describe_block_size(self) -> int:
        """Block size of a blockwise Describe; 0 where there is none."""
        if self.version < (3, 3, 0):
            return 0
        return 512 if self.max_message < 1040 else 1024

    @property
    def time_request_first(self) -> bool:
        """6.x asks for the time before its system events, older releases after them."""
        return self.version >= (6, 0, 0)

    @property
    def last_reset_on_resume(self) -> bool:
        return self.version >= (5, 8, 2)

    @property
    def scoped_subscriptions(self) -> bool:
        """Before 6.2 a subscription says ``u``: my devices."""
        return self.version < (6, 2, 0)

    @property
    def hardware_events(self) -> list[tuple[str, str]]:
        """``spark/hardware/*`` events of releases before 3.0."""
        if self.sizes_in_hello:
            return []
        events = [("spark/hardware/max_binary", str(self.max_binary))]
        if self.tcp:
            events.append(("spark/hardware/ota_chunk_size", str(OTA_CHUNK_SIZE)))
        return events

    @property
    def ping_interval(self) -> float:
        """Seconds of silence before the board pings."""
        if self.tcp:
            return 15.0
        if self.platform.radio is Radio.CELLULAR:
            return 23 * 60.0
        return 25.0

    @property
    def ping_timeout(self) -> float:
        """Seconds to wait for any message after a ping."""
        return 10.0 if self.tcp else 30.0

    @property
    def missing_chunks_at_once(self) -> int:
        """Indices in one ChunkMissed of the legacy OTA protocol."""
        return self.platform.missing_chunks

    @property
    def update_silence_limit(self) -> float:
        """Seconds without update activity before the board gives an update up."""
        return 30.0 if self.tcp else 300.0
