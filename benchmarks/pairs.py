"""Both ends of a connection in one process, for the benchmarks of handshakes and resumption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hil.device import keys
from hil.device.platforms import Transport
from hil.wire.dtls import ClientConnection, Session
from hil.wire.tcp.connection import TcpClientSession, TcpServerSession
from tests.wire.dtls_front import FrontedServer

CID = bytes.fromhex("c1d0010203040506")
DEVICE_ID = bytes.fromhex("e00fce68aabbccddeeff0011")


@dataclass
class DtlsPair:
    """A board and the cloud; ``up`` and ``down`` hold the sizes of the handshake's datagrams."""

    cid: bool = True
    device_key: ec.EllipticCurvePrivateKey = field(default_factory=keys.generate_server_ec)
    server_key: ec.EllipticCurvePrivateKey = field(default_factory=keys.generate_server_ec)
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)

    def handshake(self) -> tuple[Session, Session]:
        """A full handshake with cookie; the sessions of the device and of the cloud."""
        client = ClientConnection(self.device_key, self.server_key.public_key(), offer_cid=self.cid)
        server = FrontedServer(self.server_key, cid=CID, accept_key=lambda _spki: True)
        client.start(0.0)
        while upward := client.take_output():
            self.up += _sizes(upward)
            for datagram in upward:
                server.receive(datagram)
            downward = server.take_output()
            self.down += _sizes(downward)
            for datagram in downward:
                client.receive(datagram, 0.0)
        if client.session is None or server.session is None:
            raise AssertionError(f"handshake failed: {client.failed}, {server.failed}")
        client.session.device_id = DEVICE_ID
        return client.session, server.session


def _sizes(datagrams: Sequence[bytes]) -> list[int]:
    return [len(datagram) for datagram in datagrams]


def tcp_device_key() -> rsa.RSAPrivateKey:
    """An RSA-1024 key as a Photon has it."""
    key = keys.generate_device_key(Transport.TCP)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@dataclass
class TcpPair:
    """A Photon and the cloud."""

    device_key: rsa.RSAPrivateKey = field(default_factory=tcp_device_key)
    server_key: rsa.RSAPrivateKey = field(default_factory=keys.generate_server_rsa)

    def handshake(self) -> tuple[TcpClientSession, TcpServerSession]:
        """A full handshake; the sessions of the device and of the cloud."""
        server = TcpServerSession(self.server_key, lambda _id, _spki: True)
        client = TcpClientSession(self.device_key, DEVICE_ID, self.server_key.public_key())
        client.receive(server.start())
        server.receive(client.take_output())
        client.receive(server.take_output())
        if not (client.established and server.established):
            raise AssertionError(f"handshake failed: {server.refusal}")
        return client, server
