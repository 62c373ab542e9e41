"""The DfuSe bootloader by its control transfers: USB fact sheet 5.2."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.device.platforms import by_name
from hil.virtual.hardware.bootloader import Bootloader
from hil.virtual.hardware.flash import Flash, FlashMap
from hil.virtual.kernel.usbdevice import Setup, Stall

IDLE, SYNC, BUSY, DNLOAD_IDLE, MANIFEST, UPLOAD_IDLE, ERROR = 2, 3, 4, 5, 7, 9, 10
USER = {"photon": 0x080A0000, "argon": 0x000B4000}
PROTECTED = {"photon": 0x08000000, "argon": 0x000FF000}


class Host:
    """The host's side, one method for a request."""

    def __init__(self, tmp_path: Path, name: str = "argon", device_os: str = "6.2.0") -> None:
        platform = by_name(name)
        self.left: list[tuple[bool, float]] = []
        self.memories = [
            Flash(FlashMap.parse(text), tmp_path / f"{number}.bin", nor=number != 1)
            for number, text in enumerate(platform.dfu_alts)
        ]
        self.board = Bootloader(
            platform, device_os, "e00fce68aabbccddeeff0011", self.memories, lambda *how: self.left.append(how)
        )

    def out(self, request: int, value: int = 0, data: bytes = b"") -> None:
        self.board.control(Setup(0x21, request, value, 0, len(data)), data)

    def read(self, request: int, value: int, length: int) -> bytes:
        return self.board.control(Setup(0xA1, request, value, 0, length))

    def status(self) -> tuple[int, int]:
        reply = self.read(3, 0, 6)
        assert len(reply) == 6
        return reply[0], reply[4]

    def download(self, value: int, data: bytes) -> tuple[int, int]:
        """DNLOAD and polls until it is done: status and state."""
        self.out(1, value, data)
        assert self.status()[1] == BUSY
        return self.status()

    def command(self, code: int, address: int) -> tuple[int, int]:
        return self.download(0, bytes([code]) + address.to_bytes(4, "little"))

    def alternate(self, number: int) -> None:
        self.board.control(Setup(0x01, 11, number, 0, 0))


@pytest.mark.parametrize("name", ["photon", "argon"])
def test_download_and_read_back(tmp_path: Path, name: str) -> None:
    host = Host(tmp_path, name)
    assert host.command(0x41, USER[name]) == (0, DNLOAD_IDLE)
    assert host.command(0x21, USER[name]) == (0, DNLOAD_IDLE)
    assert host.download(2, b"A" * 4096) == (0, DNLOAD_IDLE)
    assert host.download(3, b"B" * 100) == (0, DNLOAD_IDLE)
    assert host.command(0x21, USER[name] + 4090) == (0, DNLOAD_IDLE)
    with pytest.raises(Stall):
        host.read(2, 2, 64)  # an upload needs an ABORT first
    assert host.status() == ({"photon": 0x0F, "argon": 0x0E}[name], ERROR)
    host.out(4)
    assert host.read(2, 2, 12) == b"AAAAAABBBBBB"
    assert host.status() == (0, UPLOAD_IDLE)
    host.out(6)
    assert host.status() == (0, IDLE)


def test_the_action_runs_after_busy_was_reported(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.out(1, 0, b"\x21" + USER["argon"].to_bytes(4, "little"))
    host.status()
    host.status()
    host.out(1, 2, b"data")
    assert host.memories[0].read(USER["argon"], 4) == b"\xff" * 4
    assert host.read(5, 0, 1) == bytes([SYNC])
    assert host.status() == (0, BUSY)
    assert host.memories[0].read(USER["argon"], 4) == b"data"


@pytest.mark.parametrize(
    ("name", "device_os", "commands"),
    [("photon", "2.3.1", "002141"), ("boron", "2.3.1", "002141"), ("argon", "6.2.0", "002141fafb")],
)
def test_list_of_commands(tmp_path: Path, name: str, device_os: str, commands: str) -> None:
    assert Host(tmp_path, name, device_os).read(2, 0, 64).hex() == commands


def test_gen3_finds_out_when_it_acts_and_has_one_status_for_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.command(0x21, 0x60000000) == (0, DNLOAD_IDLE)
    for block, status in ((2, 0x0E), (1, 0x01)):
        assert host.download(block, b"data") == (status, ERROR)
        with pytest.raises(Stall):
            host.out(1, 2, b"data")
        assert host.status() == (status, ERROR)
        host.out(4)
    assert host.command(0x41, PROTECTED["argon"]) == (0x0E, ERROR)
    host.out(4)
    assert host.command(0x21, PROTECTED["argon"]) == (0, DNLOAD_IDLE)
    assert host.download(2, b"data") == (0x0E, ERROR)
    host.out(4)
    assert host.download(0, b"\x41") == (0x01, ERROR)  # no mass erase
    host.out(4)
    assert host.download(0, b"\x92") == (0x0F, ERROR)
    host.out(4)
    assert host.status() == (0, IDLE)


def test_protected_and_missing_memory_of_gen2(tmp_path: Path) -> None:
    name = "photon"
    host = Host(tmp_path, name)
    assert host.command(0x21, 0x60000000) == (0x08, ERROR)
    with pytest.raises(Stall):
        host.out(1, 2, b"data")
    assert host.status() == (0x08, ERROR)
    host.out(4)
    assert host.command(0x41, PROTECTED[name]) == (0x01, ERROR)
    host.out(4)
    assert host.command(0x21, PROTECTED[name]) == (0, DNLOAD_IDLE)
    assert host.download(2, b"data") == (0x03, ERROR)
    host.out(4)
    assert host.status() == (0, IDLE)


def test_clear_status_without_an_error_is_an_error_on_gen3(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with pytest.raises(Stall):
        host.out(4)
    assert host.status() == (0x0E, ERROR)
    host.out(4)
    assert host.status() == (0, IDLE)
    photon = Host(tmp_path / "photon", "photon", "2.3.1")
    photon.out(4)
    assert photon.status() == (0, IDLE)


def test_leave_gen3_reports_manifest_then_resets_half_a_second_later(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.out(1, 2)
    assert host.left == []
    assert host.status() == (0, MANIFEST)
    assert host.left == [(False, 0.5)]
    with pytest.raises(Stall):
        host.status()
    assert len(host.left) == 1


def test_leave_gen2_reports_download_idle(tmp_path: Path) -> None:
    host = Host(tmp_path, "photon", "2.3.1")
    host.out(1, 2)
    assert host.status() == (0, DNLOAD_IDLE)
    assert [safe for safe, _ in host.left] == [False]


def test_safe_mode_command(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.out(1, 0, b"\xfa")
    assert host.status() == (0, BUSY)
    assert host.left == []
    assert host.status() == (0, MANIFEST)
    assert host.left == [(True, 0.5)]
    old = Host(tmp_path, "boron", "2.3.1")
    assert old.download(0, b"\xfa") == (0x0F, ERROR)
    assert old.left == []


def test_alternate_settings_are_the_memories(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.alternate(1)
    assert host.command(0x41, 0) == (0, DNLOAD_IDLE)  # does nothing there
    assert host.command(0x21, 3298) == (0, DNLOAD_IDLE)
    assert host.download(2, b"key") == (0, DNLOAD_IDLE)
    host.alternate(2)
    assert host.command(0x21, 0x80200000) == (0, DNLOAD_IDLE)
    assert host.download(2, b"factory") == (0, DNLOAD_IDLE)
    host.out(6)
    stored = (tmp_path / "1.bin").read_bytes()
    assert stored[3298:] == b"key"
    assert (tmp_path / "2.bin").read_bytes()[0x200000:] == b"factory"


SETUPS = st.builds(
    Setup,
    st.sampled_from([0x21, 0xA1, 0x41, 0xC1, 0x40, 0xC0]) | st.integers(0, 255),
    st.integers(0, 6) | st.integers(0, 255),
    st.integers(0, 4) | st.integers(0, 0xFFFF),
    st.sampled_from([0, 0, 0, 1, 0xFFFF]),
    st.sampled_from([0, 1, 5, 6, 64, 4096]) | st.integers(0, 0xFFFF),
)
DATA = (
    st.sampled_from([b"", b"\x21\x00\x40\x0b\x00", b"\x41\x00\x40\x0b\x00", b"\xfa", b"\x92"])
    | st.builds(
        lambda code, address: bytes([code]) + address,
        st.sampled_from([0x21, 0x41]),
        st.binary(min_size=4, max_size=4),
    )
    | st.binary(max_size=80)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(steps=st.lists(st.tuples(SETUPS, DATA), max_size=25))
def test_garbage_is_answered_or_stalled(tmp_path: Path, steps: list[tuple[Setup, bytes]]) -> None:
    host = Host(tmp_path)
    for setup, data in steps:
        try:
            reply = host.board.control(setup, b"" if setup.is_in else data)
        except Stall:
            continue
        assert len(reply) <= setup.w_length
    assert host.read(5, 0, 1)[0] in range(2, 11)
