"""One way of narrating: verbs announce themselves, and observers listen.

A method that acts carries ``@verb``; what lasts for a ``with`` block says ``announce``. Whoever wants to know registers
an observer for as long as ``observing`` lasts: the report makes steps of what it hears, the timeline a table. Verbs
know nothing of observers, and no list of verbs is kept anywhere. Without an observer a verb costs one look.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Protocol, TypeVar

LONGEST = 60  # characters of one value in a title

P = ParamSpec("P")
R = TypeVar("R")
ObserverT = TypeVar("ObserverT", bound="Observer")


class Actor(Protocol):
    """What has verbs."""

    @property
    def actor(self) -> str:
        """Who acts, as readers know it: ``cloud``, ``argon-1``."""


ActorT = TypeVar("ActorT", bound=Actor)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One use of a verb; begins and ends as the same object. ``parent`` is the step that it is a part of."""

    actor: str
    verb: str
    arguments: tuple[object, ...]
    options: Mapping[str, object]
    parent: Step | None

    @property
    def title(self) -> str:
        """The step in one line: ``cloud call(photon-1, add, 3)``."""
        named = [f"{key}={brief(value)}" for key, value in self.options.items()]
        return f"{self.actor} {self.verb}({', '.join([*map(brief, self.arguments), *named])})"

    @property
    def depth(self) -> int:
        """How many steps this one is a part of."""
        return 0 if self.parent is None else self.parent.depth + 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: with ``error``, or else with ``result``."""

    result: object = None
    error: BaseException | None = None


class Observer(Protocol):
    """Who listens. Called on the thread that acts, so perhaps on several at once.

    What an observer raises is logged and goes no further: it never changes what a verb does.
    """

    def begin(self, step: Step) -> None:
        """``step`` begins now."""

    def end(self, step: Step, outcome: Outcome) -> None:
        """``step`` ended. Comes once for each ``begin`` that raised nothing."""


_current: ContextVar[Step | None] = ContextVar("hil_step", default=None)
_quiet: ContextVar[bool] = ContextVar("hil_quiet", default=False)
_observers: tuple[Observer, ...] = ()  # never changed in place: who acts reads it without the lock
_registering = threading.Lock()
_log = logging.getLogger(__name__)


@contextmanager
def observing(observer: ObserverT) -> Iterator[ObserverT]:
    """For a ``with`` block ``observer`` hears every step that begins, on whatever thread."""
    global _observers
    with _registering:
        _observers = (*_observers, observer)
    try:
        yield observer
    finally:
        with _registering:
            _observers = tuple(each for each in _observers if each is not observer)


def verb(method: Callable[Concatenate[ActorT, P], R]) -> Callable[Concatenate[ActorT, P], R]:
    """Make a step of every call of ``method``, named after it. Its class says who acts (``Actor``)."""
    name = method.__name__.replace("_", " ").strip()

    @wraps(method)
    def told(actor: ActorT, /, *arguments: P.args, **options: P.kwargs) -> R:
        if not _observers or _quiet.get():
            return method(actor, *arguments, **options)
        with _Announcement(actor.actor, name, arguments, options) as announcement:
            result = method(actor, *arguments, **options)
            announcement.result = result
        return result

    return told


@contextmanager
def announce(actor: str, verb: str, *arguments: object, **options: object) -> Iterator[None]:
    """Make a step of a ``with`` block."""
    if not _observers or _quiet.get():
        yield
        return
    with _Announcement(actor, verb, arguments, options):
        yield


@contextmanager
def quietly() -> Iterator[None]:
    """For a ``with`` block verbs of this thread announce nothing: for a wait that asks again and again."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def brief(value: object) -> str:
    """A value as a reader wants it: boards by name, text as it is, data cut short."""
    if isinstance(value, bytes | bytearray):
        text = repr(bytes(value[:LONGEST]))
        return _cut(text) + (f" ({len(value)} bytes)" if len(value) > LONGEST else "")
    if isinstance(value, str):
        return _cut(value if value and value.isprintable() else repr(value[:LONGEST]))
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    return _cut(name if isinstance(name, str) else repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


class _Announcement:
    """A step between its two ends. The observers of its beginning hear its end."""

    def __init__(
        self, actor: str, verb: str, arguments: tuple[object, ...], options: Mapping[str, object]
    ) -> None:
        self.result: object = None
        self._step = Step(actor, verb, arguments, options, _current.get())
        self._listening: list[Observer] = []

    def __enter__(self) -> _Announcement:
        self._token = _current.set(self._step)
        for observer in _observers:
            try:
                observer.begin(self._step)
            except Exception:
                _complain(observer, self._step)
            else:
                self._listening.append(observer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        outcome = Outcome(self.result, error)
        for observer in reversed(self._listening):
            try:
                observer.end(self._step, outcome)
            except Exception:
                _complain(observer, self._step)


def _complain(observer: Observer, step: Step) -> None:
    _log.exception("observer %s failed at %s %s", type(observer).__name__, step.actor, step.verb)
