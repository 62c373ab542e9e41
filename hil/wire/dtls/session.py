"""An established DTLS session: protects records, refuses replays, and can be stored and taken up again.

Facts: protocol fact sheet 2.4 (records), 2.7 (resume forms). Session resumption here means going on with the
same keys and counters after a restart; there is no handshake for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hil.errors import UsageError, WireError
from hil.wire.dtls import alerts
from hil.wire.dtls.demux import normalise
from hil.wire.dtls.keyschedule import MASTER_SIZE, KeyBlock, RecordCipher
from hil.wire.dtls.reader import Reader, vector
from hil.wire.dtls.records import CID_SIZE, MAX_SEQUENCE, ContentType, Record, parse_record
from hil.wire.dtls.replay import ReplayWindow

EPOCH = 1
MAX_PAYLOAD = 16384
_FORMAT = 1
_DEVICE_ID_SIZE = 12


class BadRecord(WireError):
    """A record to drop: bad MAC, replayed, unknown epoch or Connection ID, or malformed."""


class ResumeForm(Enum):
    """How a device marks the first records after it took up a stored session."""

    DEVICE_ID = "device id behind a record of type 254"  # Device OS <= 3.0
    CID = "plain Connection ID record"  # Device OS 3.1 to 3.3
    MOVE = "Connection ID record of type 253"  # Device OS >= 4.0


class Role(Enum):
    """Which end of the session this is."""

    CLIENT = 0
    SERVER = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """What an authentic record held."""

    content_type: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Secrets:
    """What both ends agreed on. ``cid`` is the server's Connection ID, empty without one."""

    client_random: bytes
    server_random: bytes
    master: bytes
    session_id: bytes
    cid: bytes

    def __repr__(self) -> str:
        return f"Secrets(session_id={self.session_id.hex()}, cid={self.cid.hex()})"


class Session:
    """Record protection of one end. Only the client's records carry the Connection ID.

    ``peer_public_key`` is the peer's SPKI DER. ``device_id`` (12 bytes) is needed by a client that seals with
    ``ResumeForm.DEVICE_ID`` and otherwise free to use; it is stored with the session.
    """

    def __init__(self, role: Role, secrets: Secrets, peer_public_key: bytes) -> None:
        if len(secrets.master) != MASTER_SIZE or len(secrets.cid) not in (0, CID_SIZE):
            raise UsageError("not the secrets of a session", found=repr(secrets))
        self.role = role
        self.peer_public_key = peer_public_key
        self.device_id = b""
        self._secrets = secrets
        self._write_sequence = 0
        self._window = ReplayWindow()
        block = KeyBlock.derive(secrets.master, secrets.client_random, secrets.server_random)
        client = RecordCipher(block.client_key, block.client_iv)
        server = RecordCipher(block.server_key, block.server_iv)
        self._writer, self._reader = (client, server) if role is Role.CLIENT else (server, client)

    @property
    def cid(self) -> bytes:
        """The server's Connection ID: 8 bytes, or empty."""
        return self._secrets.cid

    @property
    def session_id(self) -> bytes:
        """The session id of the ServerHello."""
        return self._secrets.session_id

    def key_log(self) -> str:
        """A line of an NSS key log file, with which Wireshark reads a capture that has the handshake in it."""
        return f"CLIENT_RANDOM {self._secrets.client_random.hex()} {self._secrets.master.hex()}"

    @property
    def newest(self) -> int:
        """Number of the newest authentic record, -1 before the first: only a newer one may move the peer's
        address (RFC 9146 6)."""
        return self._window.newest

    @property
    def write_sequence(self) -> int:
        """Sequence number of the next record to be sealed."""
        return self._write_sequence

    def seal(
        self,
        payload: bytes,
        *,
        content_type: int = ContentType.APPLICATION,
        resume: ResumeForm | None = None,
    ) -> bytes:
        """One record, which is one datagram. ``resume`` marks it as a device does after taking up a session.

        Raises ``UsageError`` when the payload is too long, the form does not fit the session or the counter is used up.
        """
        if self._write_sequence > MAX_SEQUENCE:
            raise UsageError("all record numbers of the session are used up")
        if len(payload) > MAX_PAYLOAD:
            raise UsageError("payload too long for a record", found=f"{len(payload)} bytes")
        self._check_form(resume)
        cid = self.cid if self.role is Role.CLIENT else b""
        record = self._writer.seal(content_type, EPOCH, self._write_sequence, payload, cid).encode()
        self._write_sequence += 1
        if resume is ResumeForm.DEVICE_ID:
            tail = self.device_id + bytes([_DEVICE_ID_SIZE])
            return bytes([ContentType.RESUME_DEVICE_ID]) + record[1:] + tail
        if resume is ResumeForm.MOVE:
            return bytes([ContentType.RESUME_MOVE]) + record[1:]
        return record

    def _check_form(self, resume: ResumeForm | None) -> None:
        if resume is None:
            return
        if self.role is not Role.CLIENT or (resume is ResumeForm.DEVICE_ID) is bool(self.cid):
            raise UsageError(f"this session cannot be resumed in the form: {resume.value}")
        if resume is ResumeForm.DEVICE_ID and len(self.device_id) != _DEVICE_ID_SIZE:
            raise UsageError("device_id must be set before resuming with it", expected="12 bytes")

    def close_notify(self) -> bytes:
        """The datagram that ends the session in an orderly way; a device then erases it."""
        return self.seal(alerts.CLOSE_NOTIFY, content_type=ContentType.ALERT)

    def open(self, datagram: bytes) -> Opened:
        """The payload of a datagram of one record, in any resume form. Raises ``BadRecord``: drop it."""
        try:
            record = parse_record(normalise(datagram))
        except WireError as error:
            raise BadRecord(error.what) from error
        return self.open_record(record)

    def open_record(self, record: Record) -> Opened:
        """As ``open`` for a record already taken apart."""
        if record.epoch != EPOCH:
            raise BadRecord("record of an unknown epoch", found=str(record.epoch))
        if record.cid != (self.cid if self.role is Role.SERVER else b""):
            raise BadRecord("record with another Connection ID", found=record.cid.hex() or "none")
        if not self._window.is_fresh(record.sequence):
            raise BadRecord("replayed record", found=str(record.sequence))
        try:
            content_type, payload = self._reader.open(record)
        except WireError as error:
            raise BadRecord(error.what) from error
        self._window.mark(record.sequence)
        return Opened(content_type, payload)

    def to_bytes(self) -> bytes:
        """Everything needed to take the session up again. Holds the master secret: keep it private."""
        secrets = self._secrets
        fields = (
            bytes([self.role.value]),
            secrets.client_random,
            secrets.server_random,
            secrets.master,
            secrets.session_id,
            secrets.cid,
            self.peer_public_key,
            self.device_id,
            self._write_sequence.to_bytes(7, "big"),
            (self._window.newest + 1).to_bytes(7, "big"),
            self._window.seen.to_bytes(8, "big"),
        )
        return bytes([_FORMAT]) + b"".join(vector(2, field) for field in fields)

    @classmethod
    def from_bytes(cls, data: bytes, *, skip: int = 0) -> Session:
        """The session that ``to_bytes`` gave. Raises ``WireError``.

        ``skip`` record numbers are left out, for a state that was stored before the last records were sent.
        """
        reader = Reader(data)
        if reader.uint(1) != _FORMAT:
            raise WireError("stored session of another format")
        role, *values = [reader.vector(2) for _ in range(11)]
        reader.finish()
        client_random, server_random, master, session_id, cid, peer, device_id, *counters = values
        if role not in (b"\x00", b"\x01") or len(master) != MASTER_SIZE or len(cid) not in (0, CID_SIZE):
            raise WireError("stored session with impossible values")
        session = cls(Role(role[0]), Secrets(client_random, server_random, master, session_id, cid), peer)
        write, newest, seen = (int.from_bytes(counter, "big") for counter in counters)
        session.device_id = device_id
        session._write_sequence = write + skip
        session._window = ReplayWindow(newest - 1, seen & (1 << 64) - 1)
        return session
