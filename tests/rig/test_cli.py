"""What ``hil --help`` teaches, and what ``hil boards`` says where there is nothing to show."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from hil.cli import boards
from hil.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "taught"),
    [
        ((), "hil doctor"),
        (("boards",), "hil rack run -- hil boards"),
        (("doctor",), "hil doctor --rig"),
        (("rack",), "hil rack run -- pytest suites"),
        (("rack", "run"), "hil rack run -- lsusb"),
        (("rack", "exec"), "hil rack exec -- lsusb"),
        (("rack", "power"), "hil rack power off 1-3"),
    ],
)
def test_help_has_a_command_to_copy(arguments: tuple[str, ...], taught: str) -> None:
    result = CliRunner().invoke(main, [*arguments, "--help"])
    assert result.exit_code == 0
    assert taught in result.output


class EmptyBus:
    """A watcher that sees nothing."""

    def __enter__(self) -> EmptyBus:
        return self

    def __exit__(self, *_: object) -> None: ...

    def boards(self) -> list[object]:
        return []

    def at(self, _port: str) -> None: ...


def test_boards_without_a_board_says_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "UsbWatcher", EmptyBus)
    result = CliRunner().invoke(main, ["boards", "--rig", "rigs/virtual.toml"])
    assert result.exit_code == 0, result.output
    assert "empty: nothing at USB port 1-3" in result.output
    assert "hil rack run -- hil boards" in result.output
