"""What a device session needs from the transport below it, whichever that is."""

from __future__ import annotations

from typing import Protocol

from hil.device.platforms import Transport


class Link(Protocol):
    """One secured connection to one device. Nothing here blocks."""

    @property
    def transport(self) -> Transport:
        """Which transport it is; TCP needs no retransmission of single messages."""

    @property
    def host(self) -> str:
        """The device's address, without port."""

    @property
    def device_id(self) -> str | None:
        """The id that the handshake told (TCP), or that the stored session has; else it is in the Hello."""

    @property
    def name(self) -> str:
        """What tells this connection from all others, and survives a restart when the connection does."""

    @property
    def public_key(self) -> bytes:
        """SPKI DER of the key that the device has proved to hold."""

    def key_log(self) -> str:
        """The session's keys as a line of a key log file, for whoever reads a capture."""

    def send(self, data: bytes) -> None:
        """Send one CoAP message."""

    def save(self, device_id: str, *, online: bool, next_mid: int) -> None:
        """Put what a later resumption needs into the store; called inside a transaction."""

    def close(self, *, forget: bool, notify: bool) -> None:
        """End the connection. ``forget`` also ends what a device could resume, ``notify`` tells it."""
