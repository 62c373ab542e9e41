"""What ``hil boards`` and ``hil doctor`` say where there is nothing to show."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner

from hil.cli import boards
from hil.cli.main import main
from hil.rig import checks
from hil.rig.doctorline import Verdict
from hil.rig.rigfile import load_rig
from hil.usb.discovery import UsbWatcher

RIGS = Path(__file__).parents[2] / "rigs"


class EmptyBus:
    """A watcher that sees nothing."""

    def __enter__(self) -> EmptyBus:
        return self

    def __exit__(self, *_: object) -> None: ...

    def boards(self) -> list[object]:
        return []

    def at(self, _port: str) -> None: ...


@pytest.fixture
def nothing_on_usb(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A computer without boards, outside of any rack."""
    monkeypatch.setattr(boards, "UsbWatcher", EmptyBus)
    for name in ("HIL_RIG", "HIL_NETWORK"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("named", [(), ("--rig", "rigs/virtual.toml")])
@pytest.mark.usefixtures("nothing_on_usb")
def test_boards_of_the_rack_are_looked_for_inside_it(named: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["boards", *named])
    assert result.exit_code == 0, result.output
    assert "empty: nothing at USB port 1-3" in result.output
    assert f"hil {' '.join(['rack', 'run', *named])} -- hil boards\n" in result.output
    assert "plug one in" not in result.output


@pytest.mark.usefixtures("nothing_on_usb")
def test_boards_of_a_bench_are_to_be_plugged_in() -> None:
    result = CliRunner().invoke(main, ["boards", "--rig", "rigs/example-bench.toml"])
    assert result.exit_code == 0, result.output
    assert "plug one in" in result.output
    assert "hil rack run -- hil boards\n" in result.output


@pytest.mark.usefixtures("nothing_on_usb")
def test_the_doctor_misses_no_board_that_only_a_rack_has() -> None:
    bus = cast(UsbWatcher, EmptyBus())
    found = {
        name: checks.boards_present(load_rig(RIGS / f"{name}.toml"), bus, required=True)
        for name in ("virtual", "example-bench")
    }
    assert found["virtual"].verdict is Verdict.OK
    assert "those of rig virtual are inside `hil rack run -- ...`" in found["virtual"].found
    assert found["example-bench"].verdict is Verdict.MISSING
