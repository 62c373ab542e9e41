"""Steps of the report come from the verbs that a test uses, and change nothing about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hil.report import narration


class Log:
    def expect(self, name: str) -> str:
        return name.upper()


class Thing:
    def __init__(self) -> None:
        self.name = "argon-1"
        self.events = Log()

    def call(self, device: object, argument: bytes = b"", *, within: float = 1.0) -> str:
        if within < 0:
            raise ValueError("late")
        return f"{type(device).__name__} {argument.decode()} {within}"

    def quiet(self) -> int:
        return 7


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    @contextmanager
    def step(title: str) -> Iterator[None]:
        seen.append(title)
        yield

    monkeypatch.setattr(narration, "step", step)
    return seen


def test_named_verbs_become_steps_with_their_arguments(titles: list[str]) -> None:
    told = narration.narrate(Thing(), "cloud", ["call", "events.expect"])
    assert told.call(Thing(), b"x" * 100, within=2) == f"Thing {'x' * 100} 2"
    assert told.events.expect("a") == "A"
    assert told.quiet() == 7
    assert told.name == "argon-1"
    assert len(titles) == 2
    assert titles[0].startswith("cloud call(argon-1, b'xxx")
    assert titles[0].endswith("…, within=2)")
    assert titles[1] == "cloud events expect('a')"


def test_errors_pass_through(titles: list[str]) -> None:
    told = narration.narrate(Thing(), "cloud", ["call"])
    with pytest.raises(ValueError, match="late"):
        told.call(None, within=-1)
    assert titles == ["cloud call(None, within=-1)"]
