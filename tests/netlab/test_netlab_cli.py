from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil.cli.network import command
from hil.netlab import privileges
from hil.netlab.client import Network
from hil.netlab.namespaces import NetworkNamespace
from tests.netlab.conftest import InNamespaces
from tests.netlab.net_helpers import PATIENCE, running_lab

_ROOT = Path(__file__).parents[2]
_SERVE = "from hil.cli.network import command; command()"


def test_serve_without_privileges_says_the_sudo_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hil.cli.network.has_network_admin", lambda: False)
    monkeypatch.setattr(sys, "argv", ["/opt/bench/hil", "network", "serve", "--boards", "192.168.42.0/24"])
    path = tmp_path / "network"
    result = CliRunner().invoke(command, ["serve", "--boards", "192.168.42.0/24", "--socket", str(path)])
    assert result.exit_code == 1
    assert "sudo /opt/bench/hil network serve --boards 192.168.42.0/24" in result.output
    assert not path.exists()


def test_serve_needs_to_know_the_boards() -> None:
    result = CliRunner().invoke(command, ["serve"])
    assert result.exit_code == 2
    assert "--boards" in result.output


def _start_serve(path: Path) -> subprocess.Popen[bytes]:
    privileges.raise_ambient()
    arguments = ["serve", "--boards", "10.77.0.0/16", "--socket", str(path)]
    return subprocess.Popen([sys.executable, "-c", _SERVE, *arguments], stdout=subprocess.PIPE, cwd=_ROOT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_serve_ends_with_its_rules(in_namespaces: InNamespaces, number: signal.Signals) -> None:
    def inside() -> None:
        bench = NetworkNamespace.current()
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "bench"
            with bench.run(lambda: _start_serve(path)) as server:
                assert server.stdout is not None
                assert server.stdout.readline() == b"serving 10.77.0.0/16; for the tests:\n"
                with Network.connect(path) as network:
                    network.block(udp=5684)
                    assert network.status()["kind"] == "host"
                    assert "5684" in bench.command(["nft", "list", "ruleset"])
                    server.send_signal(number)
                    assert server.wait(PATIENCE) == (0 if number is signal.SIGTERM else -number)
            assert bench.command(["nft", "list", "ruleset"]) == ""
            assert path.exists() is (
                number is signal.SIGKILL
            )  # a stale socket is replaced by the next service

    in_namespaces(inside)


def test_status_of_a_lab(in_namespaces: InNamespaces) -> None:
    def inside() -> None:
        with running_lab() as (_, service), Network.connect(service.path):
            result = CliRunner().invoke(command, ["status"], env={"HIL_NETWORK": str(service.path)})
            assert result.exit_code == 0, result.output
            assert "the virtual rack's router, boards in 10.77.0.0/16" in result.output
            assert "1 other client connected" in result.output

    in_namespaces(inside)


def test_status_without_a_service(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["status", "--socket", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "no network service" in result.output
