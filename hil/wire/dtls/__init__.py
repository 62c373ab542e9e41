"""DTLS 1.2 as Particle boards speak it: one cipher suite, raw public keys, draft-05 Connection IDs. Sans-IO.

A board offers TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 on P-256 alone and departs from stock DTLS in five ways
(protocol fact sheet 2.2), so this is written for it. ``classify`` tells arriving datagrams apart;
``Doorkeeper`` asks new clients for a cookie; ``ServerConnection`` and ``ClientConnection`` run the handshake;
``Session`` protects records and outlives them all.
"""

from __future__ import annotations

from hil.wire.dtls.alerts import Alert, HandshakeError
from hil.wire.dtls.client import ClientConnection
from hil.wire.dtls.demux import Form, Incoming, classify
from hil.wire.dtls.doorkeeper import Doorkeeper, ProvedHello
from hil.wire.dtls.records import ContentType
from hil.wire.dtls.server import ServerConnection
from hil.wire.dtls.session import BadRecord, Opened, ResumeForm, Role, Session

__all__ = [
    "Alert",
    "BadRecord",
    "ClientConnection",
    "ContentType",
    "Doorkeeper",
    "Form",
    "HandshakeError",
    "Incoming",
    "Opened",
    "ProvedHello",
    "ResumeForm",
    "Role",
    "ServerConnection",
    "Session",
    "classify",
]
