"""The UDP gateway: DTLS handshakes, and every datagram to the session it belongs to.

Facts: protocol fact sheet 2.2 to 2.7. A record finds its session by Connection ID, by the device id behind it,
or by address; only a record that proves authentic may move a session to another address.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import socket
from collections.abc import Callable
from typing import cast

from hil.cloud.gateways.listening import listener
from hil.cloud.gateways.udplink import Address, UdpLink
from hil.cloud.session.identity import fingerprint, may_connect
from hil.cloud.session.services import Services
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.happenings import TurnedAway
from hil.cloud.state.sessionstore import SessionStore, StoredSession
from hil.device.keys import private_der
from hil.device.platforms import Transport
from hil.wire.dtls import BadRecord, ContentType, Form, Incoming, ServerConnection, classify

MAX_HANDSHAKES = 1000  # under way at once; beyond, the oldest is dropped
_RECEIVE_BUFFER = 4 * 1024 * 1024  # bytes: a burst of many boards must not be lost before it is read
_CID_SIZE = 8
_MAX_STRANGERS = 1000  # addresses remembered so that each is logged once

MakeSession = Callable[[UdpLink], DeviceSession]


class UdpGateway(asyncio.DatagramProtocol):
    """All DTLS devices of one cloud. ``make_session`` gives a new link its device session."""

    def __init__(self, services: Services, make_session: MakeSession) -> None:
        self._services = services
        self._make_session = make_session
        self._sessions = SessionStore(services.store)
        self._handshakes: dict[Address, ServerConnection] = {}
        self._by_cid: dict[bytes, UdpLink] = {}
        self._by_device: dict[str, UdpLink] = {}
        self._by_address: dict[Address, UdpLink] = {}
        self._strangers: set[Address] = set()
        # Of the server key, so that a handshake outlives a restart of the cloud.
        self._cookie_key = hashlib.sha256(b"cookies" + private_der(services.keys.ec)).digest()
        self._transport: asyncio.DatagramTransport | None = None
        self.dropped = 0

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the real port."""
        loop = asyncio.get_running_loop()
        sock = listener("UDP", host, port, "udp_port")
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        return int(sock.getsockname()[1])

    def stop(self) -> None:
        """Stop listening; sessions stay in the store."""
        if self._transport is not None:
            self._transport.close()

    def restore(self) -> list[tuple[DeviceSession, StoredSession]]:
        """Take up the sessions in the store."""
        restored = []
        for stored in self._sessions.load():
            link = UdpLink(self, self._sessions, stored.session, stored.address, stored.name)
            link.device_id = stored.device_id
            self.bind(link)
            self._by_device[stored.device_id] = link
            link.device_session = self._make_session(link)
            restored.append((link.device_session, stored))
        return restored

    # What links use

    def send(self, data: bytes, address: Address) -> None:
        """Put a datagram on the wire."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, address)

    def bind(self, link: UdpLink) -> None:
        """Make a link reachable by its Connection ID and its address."""
        if link.session.cid:
            self._by_cid[link.session.cid] = link
        self._by_address[link.address] = link

    def name_device(self, link: UdpLink, device_id: str) -> None:
        """Make a link reachable by its device's id."""
        self._by_device[device_id] = link

    def move(self, link: UdpLink, address: Address) -> None:
        """A link's device now speaks from ``address``."""
        if self._by_address.get(link.address) is link:
            del self._by_address[link.address]
        link.address = address
        self._by_address[address] = link

    def release(self, link: UdpLink) -> None:
        """Forget a link."""
        for table, key in (
            (self._by_cid, link.session.cid),
            (self._by_device, link.device_id or ""),
            (self._by_address, link.address),
        ):
            known = cast("dict[object, UdpLink]", table)
            if known.get(key) is link:
                del known[key]

    # What comes in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error for an earlier datagram: anyone can forge one, retransmission is the judge."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        address = (addr[0], addr[1])
        incoming = classify(data)
        if incoming.form is Form.HANDSHAKE:
            self._handshake(incoming, data, address)
            return
        link = self._link_for(incoming, address)
        if link is not None and self._record(link, incoming, address):
            return
        # Not of a known session: perhaps the end of a handshake, or of one that is to replace the session.
        if address in self._handshakes:
            self._advance(self._handshakes[address], data, address)
        else:
            self.dropped += 1
            self._stranger(incoming, address)

    def _stranger(self, incoming: Incoming, address: Address) -> None:
        """Say once who speaks in a session that is not here: nothing can be answered (protocol fact sheet 2.5)."""
        if incoming.form is Form.OTHER or address in self._strangers:
            return
        if len(self._strangers) >= _MAX_STRANGERS:
            self._strangers.clear()
        self._strangers.add(address)
        who = _text(address)
        if incoming.device_id is not None:
            who += f" (says it is {incoming.device_id.hex()})"
        what = "goes on with a session that this cloud does not have"
        then = "its attempts run out after 60 to 90 s, then it makes a new one"
        self._services.log.add(None, f"{who} {what}; {then}")

    def _link_for(self, incoming: Incoming, address: Address) -> UdpLink | None:
        if incoming.cid is not None:
            return self._by_cid.get(incoming.cid)
        if incoming.device_id is not None:
            return self._by_device.get(incoming.device_id.hex())
        return self._by_address.get(address) if incoming.form is Form.PLAIN else None

    def _record(self, link: UdpLink, incoming: Incoming, address: Address) -> bool:
        """A protected record that may be of ``link``. False when it is not."""
        if link.connection is not None:
            return self._record_of_new(link, link.connection, incoming, address)
        try:
            opened = link.session.open(incoming.record)
        except BadRecord:
            return False
        if opened.content_type == ContentType.ALERT:
            self._alert(link, opened.payload)
        elif opened.content_type == ContentType.APPLICATION:
            marked = incoming.form in (Form.MOVE, Form.DEVICE_ID)
            self._deliver(link, [opened.payload], address, marked=marked)
        return True

    def _record_of_new(
        self, link: UdpLink, connection: ServerConnection, incoming: Incoming, address: Address
    ) -> bool:
        """As ``_record`` for a session whose device may still repeat the end of its handshake."""
        payloads = connection.receive(incoming.record)
        self._flush(connection, address)
        if connection.failed is not None and link.device_session is not None:
            link.device_session.close(connection.failed, forget=True)
            return True
        if payloads:
            # The device sends data only after our Finished: the handshake is over for both.
            link.connection = None
            self._deliver(link, payloads, address, marked=False)
        return bool(payloads)

    def _deliver(self, link: UdpLink, payloads: list[bytes], address: Address, *, marked: bool) -> None:
        if not payloads or link.device_session is None:
            return
        moved = address != link.address
        if moved:
            self.move(link, address)
        for payload in payloads:
            if len(payload) > 1:  # a single byte only keeps a NAT's mapping alive
                link.device_session.receive(payload, marked=marked, moved=moved)

    def _alert(self, link: UdpLink, payload: bytes) -> None:
        session = link.device_session
        if session is not None:
            session.log(f"DTLS alert {payload.hex()}")
            if payload[:1] == b"\x02" or payload == b"\x01\x00":
                session.close("the device ended its DTLS session", forget=True)

    # Handshakes

    def _handshake(self, incoming: Incoming, data: bytes, address: Address) -> None:
        under_way = self._handshakes.get(address)
        link = self._by_address.get(address)
        if under_way is None and link is not None:
            under_way = link.connection
        hello = incoming.client_random
        if hello is not None and (under_way is None or under_way.client_random not in (None, hello)):
            under_way = self._begin(address, incoming.hello_sequence)
        if under_way is None:
            self.dropped += 1
        else:
            self._advance(under_way, data, address)

    def _begin(self, address: Address, first_sequence: int) -> ServerConnection:
        while len(self._handshakes) >= MAX_HANDSHAKES:
            self._handshakes.pop(next(iter(self._handshakes)))

        def accept(spki: bytes) -> bool:
            reason = may_connect(self._services, None, spki, Transport.DTLS)
            if reason is not None:
                said = f"{_text(address)} turned away: {reason} (it shows {fingerprint(spki)})"
                self._services.log.add(None, said, told=True)
                self._services.activity.tell(None, TurnedAway(address[0], reason, fingerprint(spki)))
            return reason is None

        connection = ServerConnection(
            self._services.keys.ec,
            cid=self._fresh_cid(),
            accept_key=accept,
            cookie=hmac.digest(self._cookie_key, _text(address).encode(), "sha256"),
            first_sequence=first_sequence,
        )
        self._handshakes[address] = connection
        self._strangers.discard(address)
        patience = self._services.config.timing.dtls_handshake
        self._services.clock.call_later(patience, self._expire, address, connection)
        return connection

    def _fresh_cid(self) -> bytes:
        while (cid := os.urandom(_CID_SIZE)) in self._by_cid:
            pass
        return cid

    def _advance(self, connection: ServerConnection, data: bytes, address: Address) -> None:
        payloads = connection.receive(data)
        self._flush(connection, address)
        if connection.failed is not None:
            if self._handshakes.get(address) is connection:
                del self._handshakes[address]
                self._services.log.add(None, f"{_text(address)} handshake: {connection.failed}")
            return
        if connection.session is not None and self._handshakes.get(address) is connection:
            del self._handshakes[address]
            self._open_link(connection, address)
        link = self._by_address.get(address)
        if payloads and link is not None and link.connection is connection:
            link.connection = None
            self._deliver(link, payloads, address, marked=False)

    def _open_link(self, connection: ServerConnection, address: Address) -> None:
        assert connection.session is not None, "only established connections get here"
        previous = self._by_address.get(address)
        link = UdpLink(self, self._sessions, connection.session, address, secrets.token_hex(8))
        link.connection = connection
        self.bind(link)
        link.device_session = self._make_session(link)
        patience = self._services.config.timing.first_message
        self._services.clock.call_later(patience, self._expect_hello, link)
        if previous is not None and previous.device_id is None and previous.device_session is not None:
            previous.device_session.end("replaced by another handshake", forget=True)

    def _flush(self, connection: ServerConnection, address: Address) -> None:
        for datagram in connection.take_output():
            self.send(datagram, address)

    def _expire(self, address: Address, connection: ServerConnection) -> None:
        if self._handshakes.get(address) is connection:
            del self._handshakes[address]
            self._services.log.add(None, f"{_text(address)} handshake not finished in time")

    def _expect_hello(self, link: UdpLink) -> None:
        session = link.device_session
        if session is not None and session.device is None and not session.closed:
            session.log(f"{link.host}: no Hello in time")
            session.end("no Hello in time", forget=True)


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
