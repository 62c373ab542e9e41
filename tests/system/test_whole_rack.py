"""The four boards of ``rigs/virtual.toml`` as unmodified programs see them.

Facts: protocol fact sheet 11.6, USB fact sheet 1.2 to 1.4.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import racks

CYCLES = 200
# Protocol fact sheet 11.6: bcdDevice, power, milliamperes, CDC interrupt endpoint, product, serial in upper case.
USB = {
    "photon": ("2.50", "(Bus Powered)", 100, "0x83", "Photon", True),
    "electron": ("2.50", "(Bus Powered)", 100, "0x8a", "Electron", True),
    "argon": ("1.02", "Self Powered", 500, "0x82", "Argon CDC Mode", False),
    "boron": ("1.02", "Self Powered", 500, "0x82", "Boron CDC Mode", False),
}
STM32 = [
    "@Internal Flash   /0x08000000/03*016Ka,01*016Kg,01*064Kg,07*128Kg",
    "@DCT Flash   /0x00000000/01*016Kg",
]
NRF = "@Internal Flash   /0x00000000/1*004Ka,47*004Kg,192*004Kg,4*004Kg,4*004Kg,8*004Ka"
EXTERNAL = "@External Flash   /0x80000000/1024*004Kg"
ALTERNATES = {
    "photon": STM32,
    "electron": STM32,
    "argon": [NRF, "@DCT Flash   /0x00000000/1*016Ke", EXTERNAL],
    "boron": [NRF, "@DCD Flash   /0x00000000/1*016Ke", EXTERNAL],
}
FOUND_DFU = re.compile(r'\[2b04:(\w+)\] ver=(\d+),.* path="([\d-]+)", alt=(\d), name="(.*)", serial="(\w+)"')


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[racks.StandingRack]:
    with racks.standing(racks.new_site(tmp_path_factory.mktemp("rack")), fast=True) as up:
        yield up


def serial_of(name: str, device_id: str) -> str:
    return device_id.upper() if USB[name][-1] else device_id


def test_dfu_util_lists_ten_memories(tmp_path: Path) -> None:
    listed = racks.run(racks.new_site(tmp_path).rack("dfu-util", "-l", mode="dfu"), tmp_path)
    assert listed.returncode == 0, listed.stderr
    found = {
        (port, int(alt)): (product, version, name, serial)
        for product, version, port, alt, name, serial in FOUND_DFU.findall(listed.stdout)
    }
    expected = {
        (board.port, alt): (
            f"d0{board.platform.id:02x}",
            USB[board.platform.name][0].replace(".", "").zfill(4),
            name,
            serial_of(board.platform.name, board.device_id),
        )
        for board in racks.BOARDS
        for alt, name in enumerate(ALTERNATES[board.platform.name])
    }
    assert found == expected
    assert len(found) == 10


def sections(verbose: str) -> dict[str, str]:
    """``lsusb -v`` by product id of Particle's devices."""
    parts = re.split(r"^Bus \d+ Device \d+: ID ", verbose, flags=re.MULTILINE)[1:]
    return {part[5:9]: part for part in parts if part.startswith("2b04:")}


def test_lsusb_tells_the_descriptors_of_each_board(rack: racks.StandingRack) -> None:
    found = sections(rack.output("lsusb", "-v"))
    assert sorted(found) == ["c006", "c00a", "c00c", "c00d"]
    for board in racks.BOARDS:
        name = board.platform.name
        text = found[f"c0{board.platform.id:02x}"]
        version, power, current, interrupt, product, _ = USB[name]
        assert re.findall(r"bcdDevice +(\S+)", text) == [version]
        assert re.findall(r"MaxPower +(\d+)mA", text) == [str(current)]
        assert power in text
        assert re.findall(r"bEndpointAddress +(\S+)", text) == [interrupt, "0x01", "0x81"]
        assert re.findall(r"iProduct +2 (.*)", text) == [product]
        assert re.findall(r"iManufacturer +1 (.*)", text) == ["Particle"]
        assert re.findall(r"iSerial +3 (.*)", text) == [serial_of(name, board.device_id)]
        assert re.findall(r"bDevice(?:Class|SubClass|Protocol) +(\d+)", text) == ["239", "2", "1"]
        assert re.findall(r"bInterfaceClass +(\d+)", text) == ["2", "10", "255"]
        assert re.findall(r"bNumEndpoints +(\d)", text) == ["1", "2", "0"]
        assert re.findall(r"iInterface +4 (.*)", text) == [f"{board.platform.display} Control Interface"]


def test_pyserial_lists_a_port_for_each_board(rack: racks.StandingRack) -> None:
    listed = rack.output(sys.executable, "-m", "serial.tools.list_ports", "-v")
    found = set(re.findall(r"VID:PID=(\S+) SER=(\w+) LOCATION=(\S+):1\.0", listed))
    assert found == {
        (f"2B04:C0{board.platform.id:02X}", serial_of(board.platform.name, board.device_id), board.port)
        for board in racks.BOARDS
    }
    assert len(re.findall(r"^/dev/ttyACM\d", listed, re.MULTILINE)) == 4


def test_a_raw_request_tells_each_boards_device_os(rack: racks.StandingRack) -> None:
    expected = {board.port: board.device_os for board in racks.BOARDS}
    assert rack.client("releases").result() == expected


def test_two_monitors_see_one_story_of_an_unplug_and_a_plug(rack: racks.StandingRack) -> None:
    watchers = [rack.client("watch", "1-3") for _ in range(2)]
    for watcher in watchers:
        assert watcher.hear() == "ready"
    for action in ("off", "on"):
        assert rack.output("hil", "rack", "power", action, "1-3") == ""
    first, second = (watcher.result() for watcher in watchers)
    assert first == second
    # udev's workers reorder siblings; the kernel's numbers without a gap say that nothing was lost.
    numbers = sorted(int(event[3]) for event in first)
    assert numbers == list(range(numbers[0], numbers[0] + len(first)))
    of_usb = [(action, name) for action, subsystem, name, _ in first if subsystem == "usb"]
    parts = ["1-3", "1-3:1.0", "1-3:1.1", "1-3:1.2"]
    assert Counter(of_usb) == one_cycle(parts)
    of_tty = [(action, name) for action, subsystem, name, _ in first if subsystem == "tty"]
    assert of_tty == [("remove", "ttyACM2"), ("add", "ttyACM2")]


def one_cycle(parts: list[str]) -> Counter[tuple[str, str]]:
    """Leaving and coming back; the control interface has no driver, so nothing binds to it."""
    bound = [part for part in parts if not part.endswith(":1.2")]
    expected = [(action, part) for action in ("remove", "add") for part in parts]
    return Counter(expected + [(action, part) for action in ("unbind", "bind") for part in bound])


def usage(pid: int) -> Counter[str]:
    """What the rack process holds: kinds of descriptors, threads, mounts."""
    process = Path("/proc", str(pid))
    held: Counter[str] = Counter()
    for entry in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            held[re.sub(r"\d+", "N", os.readlink(entry))] += 1
    held["threads"] = len(list((process / "task").iterdir()))
    held["mounts"] = len((process / "mountinfo").read_text().splitlines())
    return held


def leaked(pid: int, before: Counter[str]) -> Counter[str]:
    """What the rack holds beyond ``before``, when it still does after ten seconds.

    A board that was just plugged in is still connecting, now as well as ``before``: so there may be less now.
    """
    found = usage(pid) - before
    for _ in range(200):
        if not found:
            break
        select.select([], [], [], 0.05)
        found = usage(pid) - before
    return found


def test_two_hundred_cycles_lose_no_event_and_leak_nothing(rack: racks.StandingRack) -> None:
    assert rack.client("cycles", "1-3", "3").result() == []
    before = usage(rack.pid)
    counters = [rack.client("count_events", "1-4") for _ in range(2)]
    for counter in counters:
        assert counter.hear() == "ready"
    assert rack.client("cycles", "1-3", str(CYCLES)).result() == []
    assert rack.client("cycles", "1-4", "1").result() == []
    one = {
        "add usb": 4 * CYCLES,
        "bind usb": 3 * CYCLES,
        "unbind usb": 3 * CYCLES,
        "remove usb": 4 * CYCLES,
        "add tty": CYCLES,
        "remove tty": CYCLES,
    }
    assert [counter.result() for counter in counters] == [one, one]
    assert leaked(rack.pid, before) == Counter()


def test_a_killed_rack_is_an_error_for_its_clients_and_nothing_more(tmp_path: Path) -> None:
    with racks.standing(racks.new_site(tmp_path)) as rack:
        client = rack.client("orphaned", "1-1")
        assert client.hear() == "ready"
        descriptor = os.pidfd_open(rack.pid)
        os.kill(rack.pid, signal.SIGKILL)
        assert select.select([descriptor], [], [], racks.PATIENCE)[0]
        os.close(descriptor)
        client.tell("go on")
        found = client.result()
        assert found.pop("network") == ""
        assert all(found.values()), found
        assert rack.launcher.poll() is None
    assert rack.launcher.returncode == 3  # the command did well, but its rack is gone
    assert not rack.base.exists()
