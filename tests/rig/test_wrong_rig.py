"""A wrong rig file or a busy port, as the commands that need them say it: one message, no traceback."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil import resources
from hil.cli import boards
from hil.cli.main import main
from hil.device.platforms import UsbMode, by_name
from hil.ports import Protocol
from hil.rig import checks
from hil.rig.doctorline import Verdict
from hil.rig.rigfile import load_rig
from hil.usb.sysfs import UsbBoard
from tests.rig.test_cli import EmptyBus

WRONG = 'name = "x"\n[cloud]\nhost = "h"\n[[slots]]\nname = "a"\nplatfrom = "argon"\n'


def electron(port: str) -> UsbBoard:
    """An Electron, or an E Series: USB shows them alike."""
    device_id = "2b0041000251363131363432"
    platform = by_name("electron")
    return UsbBoard(port, "id", platform, UsbMode.NORMAL, device_id, device_id, "/dev/ttyACM0", 1, 9)


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HIL_RACK", raising=False)
    monkeypatch.setattr(boards, "UsbWatcher", EmptyBus)
    path = tmp_path / "rig.toml"
    path.write_text(WRONG)
    return path


@pytest.mark.parametrize(
    "command", [("boards",), ("doctor",), ("rack", "run", "--", "true"), ("rack", "images")]
)
def test_every_command_tells_every_mistake_and_ends_with_two(wrong: Path, command: tuple[str, ...]) -> None:
    options = [*command[:1], "--rig", str(wrong), *command[1:]]
    if command[0] == "rack":
        options = [*command[:2], "--rig", str(wrong), *command[2:]]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2, result.output
    assert f"{wrong}:6: slots[1].platfrom: no such key, did you mean 'platform'?" in result.output
    assert f"{wrong}:4: slots[1].port: this key is missing" in result.output
    assert "Traceback" not in result.output


def test_a_wrong_project_is_told_as_well(wrong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wrong.parent)
    monkeypatch.delenv("HIL_RIG", raising=False)
    (wrong.parent / "pyproject.toml").write_text('[tool.hil]\nrigg = "rig.toml"\n')
    result = CliRunner().invoke(main, ["boards"])
    assert result.exit_code == 2
    assert "pyproject.toml:2: rigg: no such key, did you mean 'rig'?" in result.output


def test_help_says_which_rig_it_would_be(wrong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wrong.parent)
    monkeypatch.delenv("HIL_RIG", raising=False)

    def shown() -> str:
        return "".join(CliRunner().invoke(main, ["rack", "run", "--help"]).output.split())

    assert f"[default:{resources.virtual_rig()}]" in shown()
    (wrong.parent / "pyproject.toml").write_text('[tool.hil]\nrig = "rig.toml"\n')
    assert "[default:rig.toml]" in shown()
    monkeypatch.setenv("HIL_RIG", "/etc/hil/bench.toml")
    assert "[default:/etc/hil/bench.toml]" in shown()


def test_boards_are_shown_by_their_variant() -> None:
    rig = load_rig(resources.folder("rigs") / "example-bench.toml")
    series = next(slot for slot in rig.slots if slot.variant)

    class Bus(EmptyBus):
        def at(self, port: str) -> UsbBoard | None:  # type: ignore[override]
            return electron(port) if port == series.port else None

    shown = boards.table(boards.rows(Bus(), rig))  # type: ignore[arg-type]
    row = next(line for line in shown.splitlines() if line.startswith("e-series"))
    assert row.split()[:4] == ["e-series", "1-1.3", "E", "Series"]


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_the_doctor_names_who_has_a_port(protocol: Protocol) -> None:
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as busy:
        busy.bind(("127.0.0.1", 0))
        if protocol == "TCP":
            busy.listen()
        port = busy.getsockname()[1]
        check = checks.cloud_port(protocol, port)
    assert check.verdict is Verdict.MISSING
    assert f"(process {os.getpid()} of user" in check.found
    assert check.fix.startswith(f"kill {os.getpid()}")
    assert checks.cloud_port(protocol, port).verdict is Verdict.OK
