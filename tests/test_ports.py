"""Who has a port: real sockets of this process, and tables of /proc as proc_pid_net(5) has them."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from hil.ports import Holder, Protocol, holder, is_ours, own_addresses, taken

KINDS: dict[Protocol, socket.SocketKind] = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
# Port 5683 is 0x1633; 0A is a listener of user 4242, 01 a connection from that port.
LISTENER = (
    "1: 00000000:1633 00000000:0000 0A 00000000:00000000 00:00000000 00000000 4242 0 777 1 0 100 0 0 10 0"
)
CONNECTED = (
    "0: 0100007F:1633 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 555 1 0 20 4 30 10 -1"
)


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_this_process_is_named(protocol: Protocol, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, KINDS[protocol]) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        if protocol == "TCP":
            sock.listen()
        port = sock.getsockname()[1]
        found = holder(protocol, port)
        assert found is not None
        assert found.pid == os.getpid()
        shown = found.command.removesuffix("...")
        assert " ".join(sys.orig_argv).startswith(shown)
        assert f"(process {os.getpid()} of user {found.user})" in taken(protocol, port)
    assert holder(protocol, port) is None


def test_a_socket_that_only_connects_holds_nothing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        port = client.getsockname()[1]
        assert holder("TCP", port) is None


def tables(root: Path, *rows: str) -> Path:
    (root / "net").mkdir()
    (root / "net/tcp").write_text("\n".join([HEADER, *rows, ""]))
    return root


def test_a_process_that_may_not_be_looked_into_is_told_by_its_user(tmp_path: Path) -> None:
    proc = tables(
        tmp_path,
        CONNECTED,
        LISTENER,
    )
    found = holder("TCP", 5683, proc)
    assert found == Holder("4242")
    assert str(found) == "a process of user 4242"
    assert holder("TCP", 5684, proc) is None
    assert holder("UDP", 5683, proc) is None


def test_a_long_command_is_cut(tmp_path: Path) -> None:
    proc = tables(
        tmp_path,
        LISTENER,
    )
    (proc / "99/fd").mkdir(parents=True)
    (proc / "99/fd/3").symlink_to("socket:[777]")
    (proc / "99/cmdline").write_bytes(b"hil\0cloud\0" + b"x" * 100 + b"\0")
    found = holder("TCP", 5683, proc)
    assert found is not None
    assert (found.pid, found.command) == (99, f"hil cloud {'x' * 67}...")


def test_a_port_that_nobody_is_seen_to_have_comes_with_the_command_that_looks() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening
        port = free.getsockname()[1]
        assert taken("TCP", port).endswith(f"`sudo ss -lnpt 'sport = :{port}'` names it")


def test_own_addresses_have_the_loopback_s() -> None:
    assert "127.0.0.1" in own_addresses()


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("0.0.0.0", True),
        ("localhost", True),
        ("203.0.113.7", False),
        ("2001:db8::7", False),
    ],
)
def test_an_address_is_ours_when_a_socket_can_have_it(host: str, ours: bool) -> None:
    assert is_ours(host) is ours
