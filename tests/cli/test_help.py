"""``--help`` of every subcommand teaches by lines to copy, and the command takes each of them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hil.cli.main import main
from tests.cli.lines import commands, examples, parse


def help_of(path: tuple[str, ...]) -> str:
    done = CliRunner().invoke(main, [*path, "--help"], terminal_width=200)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(("hil", *path))) for path in commands()])
def test_help_has_lines_to_copy_that_work(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "argon.der").touch()  # the key that examples register
    (tmp_path / "bench.txt").touch()  # and the list
    found = examples(help_of(path))
    called = [" ".join(parse(line).command_path.split()) for line in found]
    own = " ".join(("hil", *path))
    assert any(f"{each} ".startswith(f"{own} ") for each in called), f"no example of {own} itself in {found}"


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("hil nonsense", "No such command"),
        ("hil rack power on", "Missing argument"),
        ("hil boards --rigg x.toml", "No such option"),
        ("hil rack", "COMMAND [ARGS]"),
        ("hil rack power sideways 1-3", "is not one of"),
    ],
)
def test_a_line_that_does_not_work_is_found(line: str, trouble: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        parse(line)
    assert trouble in caught.value.format_message()


def test_examples_are_told_from_prose() -> None:
    text = """
    `hil rack run` does so by itself; hil is short.
    Real boards:     hil boards --rig rigs/mine.toml   (required then)
    Example: hil rack power off 1-3
      sudo hil network serve --boards 192.0.2.0/24
    """
    assert examples(text) == [
        "hil boards --rig rigs/mine.toml",
        "hil rack power off 1-3",
        "sudo hil network serve --boards 192.0.2.0/24",
    ]
