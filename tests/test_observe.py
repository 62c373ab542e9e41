"""Verbs announce themselves to whoever observes, and do the same whether or not anybody does."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.observe import Outcome, Step, announce, observing, quietly, verb


class Recorder:
    """Keeps what it hears, as ``begin``, ``= result`` and ``! error`` lines."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def begin(self, step: Step) -> None:
        self.heard.append(f"{'  ' * step.depth}{step.title}")

    def end(self, step: Step, outcome: Outcome) -> None:
        ending = f"! {outcome.error!r}" if outcome.error is not None else f"= {outcome.result!r}"
        self.heard.append(f"{'  ' * step.depth}{ending}")


class Deaf:
    """An observer that fails at every turn."""

    def begin(self, step: Step) -> None:
        raise RuntimeError(f"cannot hear {step.title}")

    def end(self, step: Step, outcome: Outcome) -> None:
        raise RuntimeError(f"cannot hear {step.title} end in {outcome}")


class DeafAtTheEnd(Deaf):
    def begin(self, step: Step) -> None:
        pass


class Lamp:
    def __init__(self, name: str) -> None:
        self.name = name
        self.actor = name

    @verb
    def shine(self, brightness: int, *, within: float = 1.0) -> str:
        """Give light."""
        if brightness > 100:
            raise ValueError("too bright")
        return f"{brightness} % within {within}"

    @verb
    def blink_twice(self, partner: Lamp | None = None) -> list[str]:
        return [(partner or self).shine(1), self.shine(2)]

    @verb
    def wait(self, text: str | bytes) -> None:
        assert isinstance(text, str | bytes)
        with quietly():
            self.shine(3)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with observing(Recorder()) as recorder:
        yield recorder


def test_a_verb_tells_who_does_what_and_how_it_ended(recorder: Recorder) -> None:
    assert Lamp("desk").shine(50, within=2) == "50 % within 2"
    assert recorder.heard == ["desk shine(50, within=2)", "= '50 % within 2'"]


def test_an_error_is_told_and_goes_on(recorder: Recorder) -> None:
    with pytest.raises(ValueError, match="too bright"):
        Lamp("desk").shine(101)
    assert recorder.heard == ["desk shine(101)", "! ValueError('too bright')"]


def test_a_verb_within_a_verb_is_a_step_within_a_step(recorder: Recorder) -> None:
    Lamp("desk").blink_twice(Lamp("floor"))
    assert recorder.heard == [
        "desk blink twice(floor)",
        "  floor shine(1)",
        "  = '1 % within 1.0'",
        "  desk shine(2)",
        "  = '2 % within 1.0'",
        "= ['1 % within 1.0', '2 % within 1.0']",
    ]


def test_a_block_is_a_step_around_what_happens_in_it(recorder: Recorder) -> None:
    with pytest.raises(ValueError, match="too bright"), announce("house", "power cut", 2, hours=3):
        Lamp("desk").shine(101)
    assert recorder.heard == [
        "house power cut(2, hours=3)",
        "  desk shine(101)",
        "  ! ValueError('too bright')",
        "! ValueError('too bright')",
    ]


def test_who_waits_and_asks_again_and_again_may_do_so_quietly(recorder: Recorder) -> None:
    Lamp("desk").wait("dawn")
    assert recorder.heard == ["desk wait(dawn)", "= None"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("add", "add"),
        ("", "''"),
        ("two\nlines", r"'two\nlines'"),
        ("x" * 61, "x" * 59 + "…"),
        (b"\x00\xff", r"b'\x00\xff'"),
        (b"x" * 100_000, "b'" + "x" * 57 + "… (100000 bytes)"),
    ],
)
def test_values_are_shown_as_readers_want_them(recorder: Recorder, value: str | bytes, shown: str) -> None:
    Lamp("desk").wait(value)
    assert recorder.heard[0] == f"desk wait({shown})"


def test_an_observer_hears_only_what_happens_while_it_is_registered(recorder: Recorder) -> None:
    with observing(Recorder()) as other:
        Lamp("desk").shine(1)
    Lamp("desk").shine(2)
    assert other.heard == recorder.heard[:2]
    assert len(recorder.heard) == 4


@pytest.mark.parametrize("deaf", [Deaf(), DeafAtTheEnd()])
def test_an_observer_that_fails_changes_nothing(
    deaf: Deaf, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    with observing(deaf), observing(Recorder()) as other:
        assert Lamp("desk").shine(1) == "1 % within 1.0"
        with pytest.raises(ValueError, match="too bright"):
            Lamp("desk").shine(101)
    assert other.heard == recorder.heard
    assert len(recorder.heard) == 4
    assert {record.getMessage() for record in caplog.records} == {
        f"observer {type(deaf).__name__} failed at desk shine"
    }


def test_steps_of_two_threads_are_told_apart(recorder: Recorder) -> None:
    inside, done = threading.Event(), threading.Event()

    def far_away() -> None:
        with announce("far", "away"):
            inside.set()
            assert done.wait(10)

    thread = threading.Thread(target=far_away)
    thread.start()
    assert inside.wait(10)
    Lamp("desk").shine(1)
    done.set()
    thread.join(10)
    assert recorder.heard == ["far away()", "desk shine(1)", "= '1 % within 1.0'", "= None"]


def test_a_verb_keeps_its_name_signature_and_words() -> None:
    assert (
        str(inspect.signature(Lamp.shine)) == "(self, brightness: 'int', *, within: 'float' = 1.0) -> 'str'"
    )
    assert (Lamp.shine.__name__, Lamp.shine.__doc__) == ("shine", "Give light.")


TYPED = """
from hil.testing import Board, Cloud, Network, Operations

def test_types(board: Board, cloud: Cloud, network: Network, operations: Operations) -> None:
    reveal_type(cloud.call(board, "add", "3"))
    reveal_type(cloud.events.expect("garden/watered", source=board, within=5))
    reveal_type(board.probe.publish("garden/watered", pace=False))
    reveal_type(operations.spent())
    network.block(udp="5684")
    board.reset_hard(for_ever=True)
"""


def test_an_editor_knows_the_types_of_verbs(tmp_path: Path) -> None:
    """Decorated or not, a verb has the types of its parameters and result."""
    api = pytest.importorskip("mypy.api")
    file = tmp_path / "test_types.py"
    file.write_text(TYPED)
    settings = ["--config-file", str(Path(__file__).parents[1] / "pyproject.toml"), "--no-error-summary"]
    said, _, status = api.run([*settings, str(file)])
    assert status == 1
    lines = [line.partition(": ")[2] for line in said.splitlines()]
    assert [line for line in lines if line.startswith("note: Revealed")] == [
        'note: Revealed type is "int"',
        'note: Revealed type is "hil.cloud.state.events.CloudEvent"',
        'note: Revealed type is "int"',
        'note: Revealed type is "dict[str, int]"',
    ]
    assert [line for line in lines if line.startswith("error")] == [
        'error: Argument "udp" to "block" of "BoardPath" has incompatible type "str"; '
        'expected "int | None"  [arg-type]',
        'error: Unexpected keyword argument "for_ever" for "reset_hard" of "Board"  [call-arg]',
    ]
