"""Full handshakes, both ends in one process: DTLS against OpenSSL, DTLS and TCP against their bare key work.

Goal P3 (field fact sheet 5c): at least half the handshakes per second of OpenSSL's in-process handshake.
The bare work is the asymmetric operations that the handshake was seen to make, and nothing else.
"""

from __future__ import annotations

import os
import ssl
from collections import Counter
from collections.abc import Sequence
from statistics import median

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from benchmarks import openssl
from benchmarks.asymmetric import AsymmetricOperations
from benchmarks.pairs import DtlsPair, TcpPair
from benchmarks.table import Table, Task, interleaved, options, ratio, repeated, verdict

GOAL = 0.5
_ECDSA = ec.ECDSA(hashes.SHA256())
_PKCS1 = padding.PKCS1v15()


def operations(task: Task) -> AsymmetricOperations:
    """The asymmetric operations of one run of ``task``."""
    with AsymmetricOperations() as seen:
        task()
    return seen


def bare_dtls(pair: DtlsPair, counts: Counter[str]) -> Task:
    """The operations of a DTLS handshake alone, as often as ``counts`` says."""
    key, data = pair.device_key, os.urandom(32)
    signature, public = key.sign(data, _ECDSA), key.public_key()
    peer = pair.server_key.public_key()
    return _all(
        {
            "ec.sign": lambda: key.sign(data, _ECDSA),
            "ec.verify": lambda: public.verify(signature, data, _ECDSA),
            "ec.exchange": lambda: key.exchange(ec.ECDH(), peer),
            "ec.generate_private_key": lambda: ec.generate_private_key(ec.SECP256R1()),
        },
        counts,
    )


def bare_tcp(pair: TcpPair) -> Task:
    """The six RSA operations of a TCP handshake alone: three with 2048 bits and one more, two with 1024."""
    server, device = pair.server_key, pair.device_key
    server_public, device_public = server.public_key(), device.public_key()
    data, raw = os.urandom(40), utils.NoDigestInfo()
    request, block = server_public.encrypt(data, _PKCS1), device_public.encrypt(data, _PKCS1)
    signature = server.sign(data[:20], _PKCS1, raw)

    def run() -> None:
        server_public.encrypt(data, _PKCS1)
        server.decrypt(request, _PKCS1)
        device_public.encrypt(data, _PKCS1)
        server.sign(data[:20], _PKCS1, raw)
        device.decrypt(block, _PKCS1)
        server_public.recover_data_from_signature(signature, _PKCS1, None)

    return run


def _all(tasks: dict[str, Task], counts: Counter[str]) -> Task:
    work = [tasks[name] for name in counts.elements()]

    def run() -> None:
        for task in work:
            task()

    return run


def measure(rounds: int, count: int) -> Table:
    """``rounds`` rounds of ``count`` handshakes of each kind."""
    dtls, tcp = DtlsPair(), TcpPair()
    dtls_seen, tcp_seen = operations(dtls.handshake), operations(tcp.handshake)
    tls = openssl.handshaker()
    assert tls() == openssl.SUITE
    bare_rsa = bare_tcp(tcp)
    assert operations(bare_rsa).counts == tcp_seen.counts
    tasks: dict[str, Task] = {
        "dtls": dtls.handshake,
        "openssl": tls,
        "bare dtls": bare_dtls(dtls, dtls_seen.counts),
        "tcp": tcp.handshake,
        "bare tcp": bare_rsa,
    }
    spent = interleaved({name: repeated(task, count) for name, task in tasks.items()}, rounds)
    columns = (
        "handshake",
        "speed ratio",
        "goal",
        "verdict",
        "hil per s",
        "other per s",
        "asymmetric operations",
    )
    table = Table(f"Handshakes, client and server in one process, median of {rounds}", columns)
    for name, ours, other, goal in (
        ("DTLS / OpenSSL TLS 1.2", "dtls", "openssl", GOAL),
        ("DTLS / bare key work", "dtls", "bare dtls", None),
        ("TCP / bare key work", "tcp", "bare tcp", None),
    ):
        times = ratio(spent[other], spent[ours])
        judged = ("-", "-") if goal is None else (f"{goal:g}x", verdict(times >= goal))
        rates = [f"{count / (median(spent[who]) or 1e-9):,.0f}" for who in (ours, other)]
        table.add(name, f"{times:.2f}x", *judged, *rates, dtls_seen if ours == "dtls" else tcp_seen)
    table.note = f"opponent: {ssl.OPENSSL_VERSION}, {openssl.SUITE}, certificates both ways, no DTLS cookie"
    return table


def main(argv: Sequence[str] | None = None) -> None:
    print(measure(**options(__doc__, argv, rounds=15, count=100)))


if __name__ == "__main__":
    main()
