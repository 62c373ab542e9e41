"""The UDP gateway: DTLS handshakes, and every datagram to the session it belongs to.

Facts: protocol fact sheet 2.2 to 2.7. A record finds its session by Connection ID, by the device id behind it,
or by address; only a record that proves authentic and is newer than all before it moves a session to another
address (RFC 9146 6). A sender that has not proved its address leaves nothing behind but a number in the log.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from typing import cast

from hil.cloud.gateways.datagrams import Address, Datagrams
from hil.cloud.gateways.handshakes import Handshakes
from hil.cloud.gateways.listening import listener
from hil.cloud.gateways.strangers import Strangers
from hil.cloud.gateways.udplink import UdpLink
from hil.cloud.session.identity import fingerprint, may_connect
from hil.cloud.session.services import Services
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.happenings import TurnedAway
from hil.cloud.state.sessionstore import SessionStore, StoredSession
from hil.device.keys import private_der
from hil.device.platforms import Transport
from hil.wire.dtls import (
    BadRecord,
    ContentType,
    Doorkeeper,
    Form,
    Incoming,
    ProvedHello,
    ServerConnection,
    classify,
)

_CID_SIZE = 8

MakeSession = Callable[[UdpLink], DeviceSession]


class UdpGateway:
    """All DTLS devices of one cloud. ``make_session`` gives a new link its device session."""

    def __init__(self, services: Services, make_session: MakeSession) -> None:
        self._services = services
        self._make_session = make_session
        self._sessions = SessionStore(services.store)
        patience = services.config.timing.dtls_handshake
        self._handshakes = Handshakes(services.clock, patience, self._gave_up)
        self._strangers = Strangers(services)
        # The secret is of the server key, so that a handshake outlives a restart of the cloud.
        self._door = Doorkeeper(hashlib.sha256(b"cookies" + private_der(services.keys.ec)).digest())
        self._by_cid: dict[bytes, UdpLink] = {}
        self._by_device: dict[str, UdpLink] = {}
        self._by_address: dict[Address, UdpLink] = {}
        self._datagrams: Datagrams | None = None
        self.dropped = 0

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the real port."""
        sock = listener("UDP", host, port, "udp_port")
        self._datagrams = Datagrams(sock, self.take)
        return int(sock.getsockname()[1])

    def stop(self) -> None:
        """Stop listening; sessions stay in the store."""
        self._handshakes.close()
        self._strangers.close()
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None

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
        if self._datagrams is not None:
            self._datagrams.send(data, address)

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

    def take(self, data: bytes, address: Address) -> None:
        """A datagram from ``address``, or from somebody who says so."""
        incoming = classify(data)
        if incoming.hello is not None:
            self._hello(incoming, address)
            return
        if incoming.form is Form.HANDSHAKE:
            self._in_clear(data, address)
            return
        link = self._link_for(incoming, address)
        if link is not None and self._record(link, incoming, address):
            return
        # Not of a known session: perhaps the end of a handshake, or of one that is to replace the session.
        connection = self._handshakes.get(address)
        if connection is not None:
            self._advance(connection, data, address)
        else:
            self.dropped += 1
            self._stranger(incoming, address)

    def _stranger(self, incoming: Incoming, address: Address) -> None:
        """Say who speaks in a session that is not here: nothing can be answered (protocol fact sheet 2.5)."""
        if incoming.form is Form.OTHER:
            return
        who = _text(address)
        if incoming.device_id is not None:
            who += f" (says it is {incoming.device_id.hex()})"
        what = "goes on with a session that this cloud does not have"
        then = "its attempts run out after 60 to 90 s, then it makes a new one"
        self._strangers.note("records of unknown sessions", _text(address), f"{who} {what}; {then}")

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
        before = link.session.newest
        try:
            opened = link.session.open(incoming.record)
        except BadRecord:
            return False
        if opened.content_type == ContentType.ALERT:
            self._alert(link, opened.payload)
        elif opened.content_type == ContentType.APPLICATION:
            marked = incoming.form in (Form.MOVE, Form.DEVICE_ID)
            newest = link.session.newest > before
            self._deliver(link, [opened.payload], address, marked=marked, newest=newest)
        return True

    def _record_of_new(
        self, link: UdpLink, connection: ServerConnection, incoming: Incoming, address: Address
    ) -> bool:
        """As ``_record`` for a session whose device may still repeat the end of its handshake."""
        before = link.session.newest
        payloads = connection.receive(incoming.record)
        self._flush(connection, address)
        if connection.failed is not None and link.device_session is not None:
            link.device_session.close(connection.failed, forget=True)
            return True
        if payloads:
            # The device sends data only after our Finished: the handshake is over for both.
            link.connection = None
            self._deliver(link, payloads, address, newest=link.session.newest > before)
        return bool(payloads)

    def _deliver(
        self, link: UdpLink, payloads: list[bytes], address: Address, *, newest: bool, marked: bool = False
    ) -> None:
        if not payloads or link.device_session is None:
            return
        moved = newest and address != link.address
        if moved:
            self.move(link, address)
        for payload in payloads:
            if len(payload) > 1:  # a single byte only keeps a NAT's mapping alive
                link.device_session.receive(payload, marked=marked, moved=moved)
        if link.device_session.device is not None:
            link.settle()

    def _alert(self, link: UdpLink, payload: bytes) -> None:
        session = link.device_session
        if session is not None:
            session.log(f"DTLS alert {payload.hex()}")
            if payload[:1] == b"\x02" or payload == b"\x01\x00":
                session.close("the device ended its DTLS session", forget=True)

    # Handshakes

    def _hello(self, incoming: Incoming, address: Address) -> None:
        judged = self._door.judge(incoming, address, self._services.clock.time())
        if isinstance(judged, bytes):
            self.send(judged, address)
        elif judged is not None:
            self._proved(judged, address)

    def _proved(self, hello: ProvedHello, address: Address) -> None:
        """A hello that came from where it says: of a new handshake, or once more of the one under way."""
        connection = self._under_way(address)
        if connection is None or connection.client_random != hello.random:
            connection = self._begin(hello, address)
        self._advance(connection, hello.datagram(), address)

    def _in_clear(self, data: bytes, address: Address) -> None:
        connection = self._under_way(address)
        if connection is None:
            self.dropped += 1
        else:
            self._advance(connection, data, address)

    def _under_way(self, address: Address) -> ServerConnection | None:
        """The handshake with ``address``, also one whose end the device may still repeat."""
        link = self._by_address.get(address)
        return self._handshakes.get(address) or (None if link is None else link.connection)

    def _begin(self, hello: ProvedHello, address: Address) -> ServerConnection:
        def accept(spki: bytes) -> bool:
            reason = may_connect(self._services, None, spki, Transport.DTLS)
            if reason is not None:
                key = fingerprint(spki)
                self._strangers.note(
                    "devices turned away",
                    key,
                    f"{_text(address)} turned away: {reason} (it shows {key})",
                    turned_away=TurnedAway(address[0], reason, key),
                )
            return reason is None

        connection = ServerConnection(
            self._services.keys.ec,
            cid=self._fresh_cid(),
            accept_key=accept,
            first_sequence=hello.message.sequence,
            first_number=hello.number,
        )
        self._handshakes.add(address, connection)
        return connection

    def _fresh_cid(self) -> bytes:
        while (cid := os.urandom(_CID_SIZE)) in self._by_cid:
            pass
        return cid

    def _advance(self, connection: ServerConnection, data: bytes, address: Address) -> None:
        payloads = connection.receive(data)
        self._flush(connection, address)
        under_way = self._handshakes.get(address) is connection
        if under_way and (connection.failed is not None or connection.session is not None):
            self._handshakes.remove(address)
        if connection.failed is not None:
            if under_way:
                self._gave_up(address, connection.failed)
            return
        if under_way and connection.session is not None:
            self._open_link(connection, address)
        link = self._by_address.get(address)
        if payloads and link is not None and link.connection is connection:
            link.connection = None
            self._deliver(link, payloads, address, newest=True)

    def _gave_up(self, address: Address, why: str) -> None:
        self._strangers.note("handshakes that failed", _text(address), f"{_text(address)} handshake: {why}")

    def _open_link(self, connection: ServerConnection, address: Address) -> None:
        assert connection.session is not None, "only established connections get here"
        previous = self._by_address.get(address)
        link = UdpLink(self, self._sessions, connection.session, address, secrets.token_hex(8))
        link.connection = connection
        self.bind(link)
        link.device_session = self._make_session(link)
        patience = self._services.config.timing.first_message
        link.deadline = self._services.clock.call_later(patience, self._expect_hello, link)
        if previous is not None and previous.device_id is None and previous.device_session is not None:
            previous.device_session.end("replaced by another handshake", forget=True)

    def _flush(self, connection: ServerConnection, address: Address) -> None:
        for datagram in connection.take_output():
            self.send(datagram, address)

    def _expect_hello(self, link: UdpLink) -> None:
        session = link.device_session
        if session is not None and session.device is None and not session.closed:
            session.log(f"{link.host}: no Hello in time")
            session.end("no Hello in time", forget=True)


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
