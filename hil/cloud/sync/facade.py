"""The Device Cloud for synchronous callers: tests, fixtures, the command line.

The cloud runs on one background thread; every verb here waits for its counterpart there. Verbs and errors are
those of :class:`hil.cloud.core.api.Api`. A ``device`` is a 24-digit id or anything with a ``device_id``.
"""

from __future__ import annotations

from typing import Self

from hil.clock import Clock
from hil.cloud.billing.feature import Billing
from hil.cloud.config import CloudConfig
from hil.cloud.http.feature import HttpApi
from hil.cloud.state.serverkeys import ServerKeys
from hil.cloud.sync.logs import EventLog, OperationsView
from hil.cloud.sync.presence import Presences
from hil.cloud.sync.registration import Registration
from hil.cloud.sync.verbs import Verbs
from hil.errors import CloudError


class DeviceCloud(Verbs, Presences, Registration):
    """One cloud; a context manager. Ports are real ones once it is started.

    ``clock`` is what the cloud's timers and times follow, the real time unless told; ``within`` of a verb is the
    caller's patience, in real seconds.
    Whoever needs one part only asks for :class:`Verbs`, :class:`Presences` or :class:`Registration`.
    """

    def __init__(self, config: CloudConfig | None = None, clock: Clock | None = None) -> None:
        super().__init__(config, clock)
        self._events: EventLog | None = None
        self._operations: OperationsView | None = None

    def start(self) -> Self:
        """Open the state, listen on all ports. Raises ``CloudError`` when a port is taken."""
        super().start()
        self._events = EventLog(self.core.bus.journal, self.mark)
        self._operations = OperationsView(self.core.feature(Billing).ledger, self.mark)
        self._events.begin()
        self._operations.begin()
        return self

    # Addresses and keys

    @property
    def tcp_port(self) -> int:
        """Where TCP boards dial."""
        return self.core.tcp_port

    @property
    def udp_port(self) -> int:
        """Where UDP boards dial."""
        return self.core.udp_port

    @property
    def http_port(self) -> int:
        """Where the HTTP API answers; 0 when it is off."""
        return self.core.feature(HttpApi).port

    @property
    def url(self) -> str:
        """Base address of the HTTP API; empty when it is off."""
        return self.core.feature(HttpApi).url

    @property
    def server_keys(self) -> ServerKeys:
        """The cloud's own keys, whose public halves boards carry."""
        return self.core.services.keys

    # Logs

    @property
    def events(self) -> EventLog:
        """The events, to assert on."""
        if self._events is None:
            raise CloudError("no events yet: the cloud was never started")
        return self._events

    @property
    def operations(self) -> OperationsView:
        """The Data Operations, to assert on."""
        if self._operations is None:
            raise CloudError("no operations yet: the cloud was never started")
        return self._operations
