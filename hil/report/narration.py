"""Steps of the report for what a test does with an object: each named verb becomes one step.

Production objects know nothing of reports; a test gets them through this thin shell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, TypeVar, cast

from hil.report.allure_results import step

T = TypeVar("T")

_LONGEST = 60  # characters of one argument in a step's title


class _Narrator:
    def __init__(self, target: object, actor: str, verbs: Collection[str]) -> None:
        self._target = target
        self._actor = actor
        self._verbs = frozenset(verbs)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name in self._verbs:
            return _told(value, f"{self._actor} {name.replace('_', ' ')}")
        inner = [verb.partition(".")[2] for verb in self._verbs if verb.startswith(f"{name}.")]
        return _Narrator(value, f"{self._actor} {name}", inner) if inner else value


def narrate(target: T, actor: str, verbs: Collection[str]) -> T:
    """``target`` with a step around each of ``verbs``; ``events.expect`` names a verb of an attribute."""
    return cast(T, _Narrator(target, actor, verbs))


def _told(function: Callable[..., Any], title: str) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        named = [f"{key}={_short(value)}" for key, value in options.items()]
        words = ", ".join([*map(_short, arguments), *named])
        with step(f"{title}({words})"):
            return function(*arguments, **options)

    return call


def _short(value: object) -> str:
    """An argument as a reader wants it: boards by name, data cut short."""
    name = getattr(value, "name", None)
    text = name if isinstance(name, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
