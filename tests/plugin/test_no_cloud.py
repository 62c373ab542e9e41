"""A run whose cloud cannot listen or keep its state ends with one message, before any board is touched."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RIG = """
name = "bench"
[cloud]
host = "127.0.0.1"
tcp_port = {tcp}
udp_port = 0
[[slots]]
name = "A1"
port = "1-1"
platform = "argon"
device_os = "6.2.0"
"""


def run(pytester: pytest.Pytester, *options: str, tcp: int = 0) -> str:
    """What a run says that must end at once."""
    (pytester.path / "rig.toml").write_text(RIG.format(tcp=tcp))
    pytester.makepyfile("def test_it(board): ...")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("HIL_RIG", raising=False)
        done = pytester.runpytest_subprocess("--rig", "rig.toml", *options)
    assert done.ret == 3
    said = done.stdout.str() + done.stderr.str()
    assert "Traceback" not in said
    assert "INTERNALERROR" not in said
    return said


def test_a_port_that_is_taken_names_who_has_it_and_the_key(pytester: pytest.Pytester) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = run(pytester, tcp=port)
    assert f"the cloud cannot listen on TCP 127.0.0.1:{port}: the port is taken" in said
    assert f"(process {os.getpid()} of user" in said
    assert "tcp_port of [cloud] in the rig file" in said


def test_a_state_directory_that_cannot_be_had_names_the_option(pytester: pytest.Pytester) -> None:
    (pytester.path / "file").touch()
    said = run(pytester, "--cloud-state", "file/state")
    assert "the cloud cannot keep its state in file/state" in said
    assert "--cloud-state of pytest" in said
