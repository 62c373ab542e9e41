"""What a feature may offer over HTTP, said without a word of any web framework.

The HTTP feature serves it: it finds out who is calling, reads the body, and turns the errors of
:mod:`hil.errors` into the API's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hil.cloud.state.users import User

_Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]


class Fields(Protocol):
    """The fields of a request's body, JSON or form; see the HTTP feature for what each method accepts."""

    def text(self, *names: str) -> str | None:
        """The first of the fields ``names`` that is there, as text."""

    def required(self, *names: str) -> str:
        """Like :meth:`text`; a missing one is the caller's mistake and answered with 400."""

    def flag(self, name: str, default: bool) -> bool:
        """A yes or no."""

    def number(self, name: str, default: int) -> int:
        """A whole number."""


class Request(Protocol):
    """One request of a signed-in user."""

    @property
    def user(self) -> User:
        """Who is calling."""

    @property
    def body(self) -> Fields:
        """What came in the body; empty when there was none."""

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the question mark."""

    def path(self, name: str) -> str:
        """The part of the path that the route calls ``{name}``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``content`` is anything that JSON can say, or text and bytes when a ``media_type`` is given."""

    content: Any
    status: int = 200
    media_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One verb of the API, for signed-in users. ``path`` as in ``/v1/integrations/{id}``."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Mount:
    """Everything below ``path`` is ``app``'s: pages for people, streams, whatever needs no token or its own."""

    path: str
    app: AsgiApp
