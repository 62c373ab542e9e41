"""What can be set about the Device Cloud: where it listens, where it keeps its state, how strict it is.

Defaults follow the Device Cloud introduction; where public documents disagree the other reading is a named
policy here (cloud API fact sheet section 9).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path

# Loopback, and what `hil network` and the virtual rack use between boards, router and cloud.
OWN_NETWORKS = ("127.0.0.0/8", "::1/128", "10.77.0.0/16", "198.18.0.0/24")


class SizeRule(StrEnum):
    """How large a message must be to cost more than one Data Operation (cloud API fact sheet 4.1)."""

    PER_MESSAGE = "message"  # one, whatever the size: the introduction page
    PER_BLOCK = "block"  # one per 1024 bytes begun
    BY_VERSION = "version"  # per block for devices from 6.3.0 on, else per message


class OfflineStatus(IntEnum):
    """What the HTTP API answers when a device is offline (cloud API fact sheet 2.2)."""

    BAD_REQUEST = 400  # older servers; particle-cli says that the device is not connected
    NOT_FOUND = 404  # the documents; particle-cli takes it for a function that does not exist


@dataclass(frozen=True, slots=True)
class Policy:
    """Readings of the rules where sources disagree, and what a lab wants to vary.

    ``bill_device_requests``: a device asking for its own name, address or random seed costs 2 instead of 0.
    ``free_names_ignore_case``: ``Particle/x`` is as free as ``particle/x``.
    ``offline_status``: the status of an answer about a device that is offline.
    """

    size_rule: SizeRule = SizeRule.PER_MESSAGE
    bill_device_requests: bool = False
    free_names_ignore_case: bool = True
    offline_status: OfflineStatus = OfflineStatus.BAD_REQUEST


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits of the cloud, in seconds.

    ``ack_timeout`` grows by a random factor up to ``ack_random_factor`` and doubles with every attempt;
    ``max_attempts`` sends in all before a device counts as offline (cloud API fact sheet 4.1). ``handshake`` is
    for TCP; over UDP a device repeats each of its flights for 45 s, so ``dtls_handshake`` outlasts three of them.
    ``keep_alive`` replaces the platform's own interval when given (a single device can have another one); a device that
    is quiet is asked whether it is there, and silence of twice the interval means offline.
    """

    ack_timeout: float = 4.0
    ack_random_factor: float = 1.5
    max_attempts: int = 3
    handshake: float = 20.0
    dtls_handshake: float = 135.0
    first_message: float = 30.0
    describe: float = 10.0
    call: float = 20.0
    update_ready: float = 60.0
    keep_alive: float | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past a cloud keeps, however long it runs.

    In memory: the newest ``journal`` entries each of events, operations, comings and goings, log lines, which is
    how far a mark can look back. On disk: the newest ``events``, ``operations`` and ``log_lines`` rows; what is
    more, or older than ``days``, goes as new rows come. Operations leave their sums, per day and device, for ever.
    """

    journal: int = 20_000
    events: int = 1_000_000
    operations: int = 1_000_000
    log_lines: int = 100_000
    days: float = 62.0


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """Everything the Device Cloud needs to start.

    ``state_dir``: ``None`` keeps the state in a temporary directory that ends with the cloud. Ports: 0 takes
    any free one, ``http_port=None`` leaves the HTTP API out. ``http_sockets`` listen already, perhaps in another
    network namespace; the API answers there too, and the first of them is its address. ``first_use_trust``:
    the first key that a new device shows is kept as its own, and the device belongs to ``owner``.
    ``device_timeout``: seconds that a function call or variable read may take; ``None`` takes ``timing.call``.
    ``max_http_connections`` and ``max_tcp_connections`` are open at once at most, fewer where the process may not
    open so many files. ``limits``: everybody keeps to the rate limits of the real cloud (cloud API fact sheet 5);
    otherwise the machine itself and ``own_networks`` are free of them.
    """

    state_dir: Path | None = None
    host: str = "127.0.0.1"
    tcp_port: int = 5683
    udp_port: int = 5684
    http_port: int | None = 0
    http_sockets: tuple[socket.socket, ...] = ()
    first_use_trust: bool = False
    owner: str = "hil"
    device_timeout: float | None = None
    max_http_connections: int = 2_000
    max_tcp_connections: int = 8_000
    limits: bool = False
    own_networks: tuple[str, ...] = OWN_NETWORKS
    policy: Policy = field(default_factory=Policy)
    timing: Timing = field(default_factory=Timing)
    retention: Retention = field(default_factory=Retention)

    @property
    def call_timeout(self) -> float:
        """Seconds a function call or variable read may take when the caller does not say."""
        return self.timing.call if self.device_timeout is None else self.device_timeout
