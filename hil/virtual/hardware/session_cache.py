"""What a board remembers of its last cloud session in backup RAM, and of this start (protocol fact sheet 2.7)."""

from __future__ import annotations

import json
import zlib
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass

_KEY = "cloud_session"
_SESSION_KEY = "dtls_session"
MAX_RESTORES = 3  # at the fourth restore in a row without an answer a full handshake is made


@dataclass(slots=True)
class BootState:
    """What is said once per start of the board, whatever happens to its connections.

    ``dialled``: a connection was made. ``hello_said``: a Hello was answered. ``update_told``: the cloud answered
    a Hello with its own, which takes back the flag "update succeeded". ``last_reset_told``: the event was sent.
    """

    dialled: bool = False
    hello_said: bool = False
    update_told: bool = False
    last_reset_told: bool = False


@dataclass(slots=True)
class SessionCache:
    """Checksums of what the server acknowledged, and what decides whether a session may be taken up again."""

    keys_checksum: int = 0
    address_checksum: int = 0
    next_mid: int = 1
    restores: int = 0
    hello: str = ""  # the Hello payload in hex, its OTA flag cleared: equal means nothing to say anew
    system_crc: int | None = None
    application_crc: int | None = None
    subscriptions_crc: int | None = None

    def forget_acknowledged(self) -> None:
        """A new session or a new Hello: everything is to be sent again."""
        self.system_crc = self.application_crc = self.subscriptions_crc = None

    def store(self, backup: MutableMapping[str, bytes], session: bytes | None) -> None:
        """Write cache and DTLS session to backup RAM."""
        backup[_KEY] = json.dumps(asdict(self)).encode()
        if session is not None:
            backup[_SESSION_KEY] = session

    @classmethod
    def load(cls, backup: MutableMapping[str, bytes]) -> SessionCache:
        """The cache of the last session, or a fresh one."""
        raw = backup.get(_KEY)
        return cls(**json.loads(raw)) if raw is not None else cls()


def saved_session(backup: MutableMapping[str, bytes]) -> bytes | None:
    """The saved DTLS session."""
    return backup.get(_SESSION_KEY)


def erase_session(backup: MutableMapping[str, bytes]) -> None:
    """Close and erase: the next connection makes a full handshake."""
    backup.pop(_SESSION_KEY, None)


def keys_checksum(server_der: bytes, device_der: bytes) -> int:
    """The checksum that binds a session to its keys (protocol fact sheet 2.3)."""
    both = zlib.crc32(server_der).to_bytes(4, "little") + zlib.crc32(device_der).to_bytes(4, "little")
    return zlib.crc32(both)
