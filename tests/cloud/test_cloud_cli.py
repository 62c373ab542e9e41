"""``hil cloud`` as a user runs it: a process of its own, a board that connects, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from hil.cli.main import COMMANDS, main
from hil.cloud.config import CloudConfig
from hil.cloud.session.identity import fingerprint
from hil.cloud.sync.facade import DeviceCloud
from hil.device.keys import generate_device_key, private_der, public_der
from hil.device.platforms import Transport
from tests.cloud.kits import KITS
from tests.cloud.scripted_board import ScriptedBoard

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
        assert re.search(r"argon-ff0011 +note +registered on first use$", log, re.MULTILINE)
        assert f"new session from 127.0.0.1 ({board.device_id})" in log
        board.power_off()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(10) == 0
        assert "the cloud has stopped" in rest
        assert "Traceback" not in rest


@pytest.mark.parametrize("way", ["pipe", "environment"])
def test_a_password_never_has_to_stand_on_a_command_line(way: str, tmp_path: Path) -> None:
    """Issue 6, point 11."""
    arguments = [sys.executable, "-m", "hil.cli.main", "cloud", "--state", str(tmp_path), "--owner", "ann"]
    arguments += ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0"]
    environment = dict(os.environ)
    if way == "environment":
        environment["HIL_CLOUD_PASSWORD"] = "a secret & more"
    else:
        arguments.append("--password")
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("a secret & more\n")
        process.stdin.close()
        banner = read_until(process.stdout, "HTTP API")
        url = re.search(r"http://\S+", banner)
        assert url is not None
        form = urlencode({"username": "ann", "password": "a secret & more"}).encode()
        with urlopen(f"{url[0]}/oauth/token", form) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert "a secret" not in banner + process.stdout.read()


def test_an_empty_pipe_is_no_password(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["cloud", "--state", str(tmp_path), "--password"], input="")
    assert result.exit_code == 2
    assert "no password on stdin" in result.output


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
    assert f"cannot listen on TCP 127.0.0.1:{port}: the port is taken" in result.output
    assert f"(process {os.getpid()} of user" in result.output
    assert "--tcp-port" in result.output
    assert "Traceback" not in result.output


def test_an_address_of_another_machine_is_said_in_one_sentence(tmp_path: Path) -> None:
    # 203.0.113.0/24 is for documentation (RFC 5737): nothing that listens has it.
    for host in ("203.0.113.7", "no-such-host.invalid"):
        result = CliRunner().invoke(main, ["cloud", "--state", str(tmp_path), "--host", host])
        assert result.exit_code == 1
        assert f"cannot listen on TCP {host}:5683: that is no address of this machine" in result.output
        assert "host of [cloud] in the rig file, --host of `hil cloud`" in result.output


@pytest.mark.parametrize("arguments", [[], ["devices"], ["keys"]])
def test_a_state_directory_that_cannot_be_had_is_said_in_one_sentence(
    arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["cloud", "--state", str(tmp_path / "file/state"), *arguments])
    assert result.exit_code == 2
    assert f"the cloud cannot keep its state in {tmp_path}/file/state" in result.output
    assert "found: Not a directory" in result.output


def test_a_state_that_is_no_database_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cloud.sqlite").write_bytes(b"not a database, whatever its name says" * 99)
    result = CliRunner().invoke(main, ["cloud", "--state", str(tmp_path)])
    assert result.exit_code == 2
    assert "found: file is not a database" in result.output


def test_the_state_is_below_the_root_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "suites").mkdir()
    monkeypatch.chdir(tmp_path / "suites")
    shown = CliRunner().invoke(main, ["cloud", "--help"])
    assert f"[default:{tmp_path}/.hil/cloud]" in "".join(shown.output.split())
    assert CliRunner().invoke(main, ["cloud", "keys"]).exit_code == 0
    assert (tmp_path / ".hil/cloud/server_ec.pub.der").exists()
    assert not (tmp_path / "suites/.hil").exists()


def test_help_lists_every_subcommand_without_importing_them() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert name in result.output


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["cloud", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def key_files(directory: Path, transport: Transport) -> tuple[bytes, list[Path]]:
    """The public key (SPKI DER) of a fresh device key, and every file that a person may have of it."""
    key = generate_device_key(transport)
    private = [
        (encoding, form)
        for encoding in (Encoding.DER, Encoding.PEM)
        for form in (PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8)
    ]
    contents = [key.private_bytes(encoding, form, NoEncryption()) for encoding, form in private]
    contents.append(private_der(key).ljust(612, b"\xff"))  # the whole slot, as read over DFU
    contents += [
        key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        for encoding in (Encoding.DER, Encoding.PEM)
    ]
    files = []
    for number, content in enumerate(contents):
        files.append(directory / f"{transport}{number}.key")
        files[-1].write_bytes(content)
    return public_der(key), files


@pytest.mark.parametrize("transport", list(Transport))
def test_a_key_file_of_any_kind_registers_a_device(transport: Transport, tmp_path: Path) -> None:
    spki, files = key_files(tmp_path, transport)
    state = str(tmp_path / "state")
    for file in files:
        said = run("register", "E00FCE68AABBCCDDEEFF0011", "--key", str(file), "--state", state)
        assert said == f"e00fce68aabbccddeeff0011 is registered with {fingerprint(spki)} and claimed by hil\n"
    listed = run("devices", "--state", state)
    assert re.fullmatch(rf"e00fce68aabbccddeeff0011 +(photon|argon) +ff0011 +{fingerprint(spki)}\n", listed)


def test_what_is_registered_again_keeps_its_platform_and_name(tmp_path: Path) -> None:
    _, files = key_files(tmp_path, Transport.DTLS)
    first = ["register", "e00fce68aabbccddeeff0011", "--key", str(files[0])]
    run("--state", str(tmp_path), *first, "--platform", "boron", "--name", "shed")
    run("--state", str(tmp_path), *first)
    assert " boron      shed " in run("--state", str(tmp_path), "devices")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["register", "e00fce68", "--key", "KEY"], "expected: 24 hex digits"),
        (["register", "e00fce68aabbccddeeff0011", "--key", "JUNK"], "no device key in"),
        (["register", "e00fce68aabbccddeeff0011", "--key", "KEY", "--platform", "arduino"], "not a platform"),
    ],
)
def test_mistakes_are_said_in_words(arguments: list[str], said: str, tmp_path: Path) -> None:
    _, files = key_files(tmp_path, Transport.DTLS)
    (tmp_path / "junk").write_bytes(bytes(range(64)))
    names = {"KEY": str(files[0]), "JUNK": str(tmp_path / "junk")}
    arguments = [names.get(argument, argument) for argument in arguments]
    result = CliRunner().invoke(main, ["cloud", "--state", str(tmp_path / "state"), *arguments])
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_server_keys_as_files_and_the_commands_that_write_them(tmp_path: Path) -> None:
    state, out = tmp_path / "state", tmp_path / "keys"
    said = run("keys", "--state", str(state), "--write", str(out), "--address", "192.0.2.7")
    again = run("keys", "--state", str(state), "--write", str(out), "--address", "192.0.2.7")
    assert said == again
    for name, size, port in (("hil_tcp.pub", 294, 5683), ("hil_udp.pub", 91, 5684)):
        der = (out / f"{name}.der").read_bytes()
        assert len(der) == size  # what a board has room for (fact sheet 1.1, 2.3)
        pem = load_pem_public_key((out / f"{name}.pem").read_bytes())
        assert pem.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == der
        assert f"particle keys server {out / name}.der --host 192.0.2.7 --port {port}" in said
        assert fingerprint(der) in said


def test_a_device_is_registered_with_a_cloud_that_runs_and_connects(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "hil.cli.main", "cloud", "--state", str(tmp_path)]
    arguments += ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0"]
    board = ScriptedBoard(KITS["argon"])
    key = tmp_path / "argon.der"
    key.write_bytes(private_der(board.key))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        banner = read_until(process.stdout, "devices")
        assert "none registered yet: hil cloud register --help" in banner
        tcp, udp = (int(port) for port in re.findall(r"127\.0\.0\.1:(\d+) +server", banner))
        said = run("register", board.device_id, "--key", str(key), "--name", "shed", "--state", str(tmp_path))
        assert said.endswith("claimed by hil\n")
        rsa, ec = (tmp_path / f"server_{kind}.pub.der" for kind in ("rsa", "ec"))
        board.dial("127.0.0.1", tcp, udp, rsa.read_bytes(), ec.read_bytes())
        board.power_on()
        read_until(process.stdout, "described its application")
        assert re.search(r"argon +shed +online", run("devices", "--state", str(tmp_path)))
        board.power_off()
        refused = CliRunner().invoke(
            main,
            ["cloud", "register", "3d0034000747343337373738", "--key", str(key), "--state", str(tmp_path)],
        )
        assert refused.exit_code == 1
        assert f"this public key belongs to device {board.device_id}" in refused.output
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(10) == 0
    assert not (tmp_path / "running.json").exists()


def test_a_running_cloud_without_http_cannot_be_asked(tmp_path: Path) -> None:
    with DeviceCloud(CloudConfig(state_dir=tmp_path, tcp_port=0, udp_port=0, http_port=None)):
        result = CliRunner().invoke(main, ["cloud", "devices", "--state", str(tmp_path)])
    assert result.exit_code == 1
    assert "start it without --no-http" in result.output
