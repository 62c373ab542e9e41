"""Secrets of one DTLS session: ECDHE, master secret, key block, Finished values, record cipher.

Facts: protocol fact sheet 2.4. No extended master secret.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from hil.errors import WireError
from hil.wire.dtls.reader import Reader
from hil.wire.dtls.records import VERSION, ContentType, Record

MASTER_SIZE = 48
VERIFY_SIZE = 12
TAG_SIZE = 8
EXPLICIT_NONCE_SIZE = 8
CID_PADDING = 16


def prf(secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """The TLS 1.2 pseudo-random function with SHA-256."""
    output = b""
    block = label + seed
    while len(output) < size:
        block = hmac.new(secret, block, hashlib.sha256).digest()
        output += hmac.new(secret, block + label + seed, hashlib.sha256).digest()
    return output[:size]


def verify_data(master: bytes, from_client: bool, transcript_hash: bytes) -> bytes:
    """The 12 bytes of a Finished message."""
    label = b"client finished" if from_client else b"server finished"
    return prf(master, label, transcript_hash, VERIFY_SIZE)


class KeyExchange(Protocol):
    """One end's share of the key agreement."""

    @property
    def point(self) -> bytes:
        """Own public point, 65 bytes uncompressed."""

    def master_secret(self, peer_point: bytes, randoms: bytes) -> bytes:
        """48 bytes from the peer's point and ``client_random || server_random``. Raises ``WireError``."""


class EcdheExchange:
    """An ephemeral P-256 key."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def point(self) -> bytes:
        return self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def master_secret(self, peer_point: bytes, randoms: bytes) -> bytes:
        try:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), peer_point)
        except ValueError as error:
            raise WireError("not a point on P-256", found=peer_point.hex()) from error
        return prf(self._key.exchange(ec.ECDH(), peer), b"master secret", randoms, MASTER_SIZE)


@dataclass(frozen=True, slots=True)
class KeyBlock:
    """Keys and implicit IVs of both directions."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    client_iv: bytes = field(repr=False)
    server_iv: bytes = field(repr=False)

    @classmethod
    def derive(cls, master: bytes, client_random: bytes, server_random: bytes) -> KeyBlock:
        """The 40-byte key block, cut into its parts."""
        reader = Reader(prf(master, b"key expansion", server_random + client_random, 40))
        return cls(reader.take(16), reader.take(16), reader.take(4), reader.take(4))


class RecordCipher:
    """AES-128-CCM-8 protection of the records of one direction, in draft-05 form when a CID is used."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead = AESCCM(key, tag_length=TAG_SIZE)
        self._iv = iv

    def seal(self, content_type: int, epoch: int, sequence: int, payload: bytes, cid: bytes = b"") -> Record:
        """The protected record. With a ``cid`` the real type moves inside and the length is padded to 16."""
        if cid:
            inner = payload + bytes([content_type])
            payload = inner.ljust(-len(inner) % CID_PADDING + len(inner), b"\x00")
            content_type = ContentType.CID
        head = Record(content_type, epoch, sequence, b"", cid)
        nonce = self._iv + head.number
        sealed = self._aead.encrypt(nonce, payload, _additional_data(head, len(payload)))
        return Record(content_type, epoch, sequence, head.number + sealed, cid)

    def open(self, record: Record) -> tuple[int, bytes]:
        """Content type and payload of ``record``. Raises ``WireError`` when it is not authentic."""
        size = len(record.fragment) - EXPLICIT_NONCE_SIZE - TAG_SIZE
        if size < 0:
            raise WireError("protected record too short", found=f"{len(record.fragment)} bytes")
        explicit, sealed = record.fragment[:EXPLICIT_NONCE_SIZE], record.fragment[EXPLICIT_NONCE_SIZE:]
        try:
            payload = self._aead.decrypt(self._iv + explicit, sealed, _additional_data(record, size))
        except InvalidTag as error:
            raise WireError("record with a bad MAC") from error
        if record.type != ContentType.CID:
            return record.type, payload
        inner = payload.rstrip(b"\x00")
        if not inner:
            raise WireError("CID record without a content type")
        return inner[-1], inner[:-1]


def _additional_data(record: Record, plaintext_size: int) -> bytes:
    cid = record.cid + bytes([len(record.cid)]) if record.cid else b""
    return record.number + bytes([record.type]) + VERSION + cid + plaintext_size.to_bytes(2, "big")
