"""TCP transport of the Device Cloud: both ends of the RSA handshake and of the AES-128-CBC records. Sans-IO.

Facts: protocol fact sheet 1.2 to 1.4. The handshake itself is in ``tcp_handshake``, records in ``tcp_records``.
Whoever owns the socket sends ``take_output()`` and each sealed frame in a single ``send`` with TCP_NODELAY:
a board that gets one of the two length bytes alone loses it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa

from hil.errors import UsageError, WireError
from hil.wire.tcp import handshake
from hil.wire.tcp.handshake import AuthenticationFailed, DecryptionFailed
from hil.wire.tcp.records import FrameReader, FrameSealer

__all__ = ["AuthenticationFailed", "DecryptionFailed", "TcpClientSession", "TcpServerSession"]

Random = Callable[[int], bytes]


class _Session:
    """What both ends share: buffered input and output, and the record ciphers once there are credentials."""

    def __init__(self) -> None:
        self._input = bytearray()
        self._output = bytearray()
        self._reader: FrameReader | None = None
        self._sealer: FrameSealer | None = None
        self.salt = b""
        self._key_log = "# TCP session without keys"

    @property
    def established(self) -> bool:
        """Whether the handshake is over and records may be exchanged."""
        return self._sealer is not None

    def key_log(self) -> str:
        """The keys in a line that is a comment to Wireshark, which knows no such protocol (protocol fact sheet 1.3)."""
        return self._key_log

    def take_output(self) -> bytes:
        """Handshake bytes to send now; empty when there are none."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def seal(self, plaintext: bytes) -> bytes:
        """One CoAP message as a frame. Raises ``UsageError`` before the handshake is over."""
        if self._sealer is None:
            raise UsageError("the TCP session is not established yet")
        return self._sealer.seal(plaintext)

    def _take_input(self, size: int) -> bytes | None:
        if len(self._input) < size:
            return None
        taken = bytes(self._input[:size])
        del self._input[:size]
        return taken

    def _establish(self, credentials: handshake.Credentials) -> None:
        self._reader = FrameReader(credentials.key, credentials.iv)
        self._sealer = FrameSealer(credentials.key, credentials.iv)
        self.salt = credentials.salt
        self._key_log = f"# TCP AES-128-CBC key={credentials.key.hex()} first_iv={credentials.iv.hex()}"


class TcpServerSession(_Session):
    """The cloud's end of one connection.

    ``accept(device_id, spki)`` decides whether the device may connect. ``stored_key(device_id)`` gives the
    known SPKI of a device whose handshake carries none (very old Core firmware).
    A handshake that fails sets ``refusal`` and sends nothing more; close the connection then.
    """

    def __init__(
        self,
        server_key: rsa.RSAPrivateKey,
        accept: Callable[[bytes, bytes], bool],
        *,
        stored_key: Callable[[bytes], bytes | None] = lambda _device_id: None,
        random: Random = os.urandom,
    ) -> None:
        super().__init__()
        self._key = server_key
        self._accept = accept
        self._stored_key = stored_key
        self._random = random
        self._nonce = b""
        self.device_id: bytes | None = None
        self.device_public_key: bytes | None = None
        self.refusal: str | None = None

    def start(self) -> bytes:
        """The 40-byte nonce to send as soon as the connection is accepted."""
        self._nonce = self._random(handshake.NONCE_SIZE)
        return self._nonce

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes from the device and return the CoAP messages they complete.

        Raises ``WireError`` (and sets ``refusal``) when an established stream is broken; a failed handshake
        only sets ``refusal``. After a refusal input is ignored.
        """
        if self.refusal is not None:
            return []
        self._input += data
        if not self.established:
            self._greet()
        if self._reader is None:
            return []
        try:
            return self._reader.read(self._input)
        except WireError as error:
            self.refusal = error.what
            raise

    def _greet(self) -> None:
        request = self._take_input(handshake.REQUEST_SIZE)
        if request is None:
            return
        try:
            self._answer(handshake.open_request(self._key, self._nonce, request))
        except WireError as error:
            self.refusal = error.what

    def _answer(self, request: handshake.Request) -> None:
        spki = request.public_key or self._stored_key(request.device_id)
        if spki is None:
            raise WireError("the device sent no public key and none is stored for it")
        public = handshake.load_device_public(spki)
        self.device_id, self.device_public_key = request.device_id, spki
        if not self._accept(request.device_id, spki):
            raise WireError("the cloud does not accept this device with this key")
        credentials = handshake.Credentials(self._random(handshake.CREDENTIALS_SIZE))
        self._output += handshake.seal_reply(self._key, public, credentials)
        self._establish(credentials)


class TcpClientSession(_Session):
    """The device's end of one connection."""

    def __init__(
        self, device_key: rsa.RSAPrivateKey, device_id: bytes, server_public_key: rsa.RSAPublicKey
    ) -> None:
        super().__init__()
        self._key = device_key
        self._device_id = device_id
        self._server_key = server_public_key
        self._asked = False

    @property
    def first_mid(self) -> int:
        """Message id of the device's first message, the Hello."""
        if not self.established:
            raise UsageError("the TCP session is not established yet")
        return (int.from_bytes(self.salt[:2], "little") + 1) & 0xFFFF

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes from the cloud and return the CoAP messages they complete.

        Raises ``DecryptionFailed`` or ``AuthenticationFailed`` in the handshake, ``WireError`` for a broken
        record; the connection is of no use after that.
        """
        self._input += data
        if not self._asked:
            self._ask()
        if self._asked and not self.established:
            self._finish()
        return [] if self._reader is None else self._reader.read(self._input)

    def _ask(self) -> None:
        nonce = self._take_input(handshake.NONCE_SIZE)
        if nonce is not None:
            public = self._key.public_key()
            self._output += handshake.seal_request(self._server_key, nonce, self._device_id, public)
            self._asked = True

    def _finish(self) -> None:
        reply = self._take_input(handshake.REPLY_SIZE)
        if reply is not None:
            self._establish(handshake.open_reply(self._key, self._server_key, reply))
