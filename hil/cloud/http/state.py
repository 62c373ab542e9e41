"""What every route of the HTTP API shares: the cloud, the options, the open event streams."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from hil.cloud.core.api import Api
from hil.cloud.http.guesses import Guesses, Passwords
from hil.cloud.http.stream import OpenStreams


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What can be set about the API. Times in seconds, sizes in bytes.

    ``keep_alive``: a silent event stream sends a byte this often; particle-api-js gives up after 15.
    ``stalled_after``: a client that takes nothing from its stream for so long is cut off.
    ``max_body`` and ``max_bodies``: one body, and all that are on their way together. ``idle_within``,
    ``head_within`` and ``body_within``: how long a client may take for the first byte of its next request, for the
    rest of its head, and for its body. ``streams_per_address``: 0 for no limit, a lab shares one address; the real
    cloud has 100.
    """

    keep_alive: float = 9.0
    stalled_after: float = 30.0
    max_body: int = 16 * 1024 * 1024
    max_bodies: int = 64 * 1024 * 1024
    idle_within: float = 15.0
    head_within: float = 10.0
    body_within: float = 60.0
    streams_per_address: int = 0


@dataclass(frozen=True, slots=True)
class HttpState:
    """Kept as ``app.state.hil``."""

    cloud: Api
    options: HttpOptions
    guesses: Guesses
    passwords: Passwords = field(default_factory=Passwords)
    streams: OpenStreams = field(default_factory=OpenStreams)


def state_of(connection: HTTPConnection) -> HttpState:
    """What the application was made with."""
    state = connection.app.state.hil
    assert isinstance(state, HttpState)
    return state
