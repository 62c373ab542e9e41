"""Records of an established TCP session: length, AES-128-CBC with a rolling IV, PKCS#7 padding.

Facts: protocol fact sheet 1.3.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hil.errors import UsageError, WireError

BLOCK = 16
MAX_PLAINTEXT = 0xFFF0 - BLOCK


class FrameSealer:
    """Seals the frames of one direction."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._key = key
        self._iv = iv

    def seal(self, plaintext: bytes) -> bytes:
        """``plaintext`` (one CoAP message) as a frame, length first."""
        if len(plaintext) > MAX_PLAINTEXT:
            raise UsageError("message too long for a frame", found=f"{len(plaintext)} bytes")
        fill = BLOCK - len(plaintext) % BLOCK
        encryptor = Cipher(algorithms.AES128(self._key), modes.CBC(self._iv)).encryptor()
        ciphertext = encryptor.update(plaintext + bytes([fill]) * fill) + encryptor.finalize()
        # The next IV is the first block of this message, not the last as in a running CBC.
        self._iv = ciphertext[:BLOCK]
        return len(ciphertext).to_bytes(2, "big") + ciphertext


class FrameReader:
    """Opens the frames of one direction."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._key = key
        self._iv = iv

    def read(self, buffer: bytearray) -> list[bytes]:
        """Take all complete frames out of ``buffer`` and return their plaintexts. Raises ``WireError``."""
        plaintexts: list[bytes] = []
        while len(buffer) >= 2:
            size = int.from_bytes(buffer[:2], "big")
            if size == 0 or size % BLOCK:
                raise WireError("frame of a wrong length", expected="a multiple of 16", found=str(size))
            if len(buffer) < 2 + size:
                break
            plaintexts.append(self._open(bytes(buffer[2 : 2 + size])))
            del buffer[: 2 + size]
        return plaintexts

    def _open(self, ciphertext: bytes) -> bytes:
        decryptor = Cipher(algorithms.AES128(self._key), modes.CBC(self._iv)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        self._iv = ciphertext[:BLOCK]
        fill = padded[-1]
        if not 1 <= fill <= BLOCK or padded[-fill:] != bytes([fill]) * fill:
            raise WireError("frame with wrong padding", hint="the two ends may have lost step; reconnect")
        return padded[:-fill]
