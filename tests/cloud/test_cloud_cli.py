"""``hil cloud`` as a user runs it: a process of its own, a board that connects, Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from click.testing import CliRunner

from hil.cli.main import COMMANDS, main
from tests.cloud.scripted_board import KITS, ScriptedBoard

REPOSITORY = Path(__file__).parents[2]


def read_until(stream: IO[str], wanted: str) -> str:
    seen = ""
    for line in stream:
        seen += line
        if wanted in line:
            return seen
    raise AssertionError(f"{wanted!r} never came; there was:\n{seen}")


def test_a_board_connects_and_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "hil.cli.main", "cloud", "--state", str(tmp_path), "--trust-first-use"]
    arguments += ["--tcp-port", "0", "--udp-port", "0", "--no-http"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        banner = read_until(process.stdout, "devices")
        tcp, udp = (int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", banner))
        assert re.search(r"token +[0-9a-f]{40}\b", banner)
        board = ScriptedBoard(KITS["argon"])
        rsa, ec = (tmp_path / f"server_{kind}.pub.der" for kind in ("rsa", "ec"))
        board.dial("127.0.0.1", tcp, udp, rsa.read_bytes(), ec.read_bytes())
        board.power_on()
        log = read_until(process.stdout, "described its application")
        assert f"{board.device_id} registered on first use" in log
        board.power_off()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(10) == 0
        assert "the cloud has stopped" in rest
        assert "Traceback" not in rest


def test_a_taken_port_is_said_in_one_sentence(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(
            main, ["cloud", "--state", str(tmp_path), "--tcp-port", port, "--udp-port", "0", "--no-http"]
        )
    assert result.exit_code == 1
    assert f"cannot listen on TCP 127.0.0.1:{port}" in result.output
    assert "Traceback" not in result.output


def test_help_lists_every_subcommand_without_importing_them() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert name in result.output
