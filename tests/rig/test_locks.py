"""One lock for each port among all users of a computer, and no file turned against it (issue 6, point 18)."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hil.errors import RigError
from hil.rig import locks
from hil.rig.locks import BoardHeld, Holder, PortLock
from hil.rig.pool import BoardPool, SlotState
from hil.rig.rigfile import CloudTable, RigFile
from hil.usb import scratch
from tests.rig.memory_bench import ARGON, Bench

NOBODY = 65534
_HOLD_LOCK = """
import sys
from pathlib import Path
from hil.rig.locks import PortLock
PortLock("1-3", Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""
_HOLD_FOLDER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from hil.usb.scratch import scratch
with scratch() as folder:
    (folder / "image.bin").write_bytes(b"x")
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(program: str, folder: Path) -> subprocess.Popen[bytes]:
    """A process that holds something in ``folder`` until it ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.communicate(timeout=30)


def lock_file(folder: Path) -> Path:
    """The file that a lock of port 1-3 makes in ``folder``."""
    lock = PortLock("1-3", folder)
    lock.acquire()
    (path,) = folder.iterdir()
    lock.release()
    return path


def test_6_18_the_environment_does_not_make_two_locks_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = f"9-9.{os.getpid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    first = PortLock(port)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    second = PortLock(port)
    first.acquire()
    try:
        with pytest.raises(BoardHeld):
            second.acquire()
    finally:
        first.release()
    assert list(locks.lock_directory().glob(f"*-{port}.lock")) == [], "nothing is left"


def test_6_18_the_directory_of_all_users_is_root_s_and_sticky() -> None:
    status = locks.lock_directory().stat()
    assert status.st_mode & 0o1777 == 0o1777
    assert status.st_uid in (0, NOBODY)  # nobody: root as a user namespace sees him


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard_link(path: Path, victim: Path) -> None:
    os.link(victim, path)


def pipe(path: Path, _victim: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _victim: Path) -> None:
    path.mkdir()


def other_content(path: Path, victim: Path) -> None:
    path.write_bytes(victim.read_bytes())


@pytest.mark.parametrize("plant", [link, hard_link, pipe, folder, other_content])
def test_6_18_what_somebody_planted_is_refused_and_nothing_is_emptied(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    place, victim = tmp_path / "locks", tmp_path / "shadow"
    place.mkdir()
    victim.write_text("root:secret:19000:0:99999:7:::\n")
    path = lock_file(place)
    plant(path, victim)
    lock = PortLock("1-3", place)
    for action in (lock.acquire, lock.holder):
        with pytest.raises(RigError, match="is not a lock file of hil") as caught:
            action()
        assert f"sudo rm {path}" in caught.value.hint
    assert victim.read_text() == "root:secret:19000:0:99999:7:::\n"
    locks.sweep(place)
    assert os.path.lexists(path), "what is not ours is not ours to remove"


def test_6_18_a_lock_that_cannot_be_had_is_a_state_of_its_slot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock_file(tmp_path).mkdir()
    bench = Bench(monkeypatch, [ARGON])
    rig = RigFile(name="test", cloud=CloudTable(host="127.0.0.1"), slots=(ARGON,))
    pool = BoardPool(rig, bench.watcher, make_lock=lambda port: PortLock(port, tmp_path))
    (status,) = pool.status()
    assert status.state is SlotState.HELD
    assert "is not a lock file of hil" in status.why


def test_6_18_a_directory_in_which_others_remove_our_files_is_refused(tmp_path: Path) -> None:
    open_to_all, behind = tmp_path / "open", tmp_path / "link"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    behind.symlink_to(tmp_path)
    for place in (open_to_all, behind):
        with pytest.raises(RigError, match="is no place for locks"):
            PortLock("1-3", place).acquire()
    open_to_all.chmod(0o1777)
    PortLock("1-3", open_to_all).acquire()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_6_18_two_users_share_one_lock() -> None:
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        place.chmod(0o1777)
        first = PortLock("1-3", place)
        first.acquire()
        (path,) = place.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o666, "whatever the umask"
        assert as_nobody(lambda: PortLock("1-3", place).acquire()) == "BoardHeld"
        os.pwrite(os.open(path, os.O_RDWR), b" " * 10, 0)
        first.release()
        assert as_nobody(lambda: PortLock("1-3", place).acquire()) == ""
        PortLock("1-3", place).acquire()


def as_nobody(action: Callable[[], None]) -> str:
    """The name of what ``action`` raises in a process of another user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        name = ""
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
        except BaseException as error:
            name = type(error).__name__
        os.write(writer, name.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as said:
        return said.read()


def test_6_18_lock_files_of_killed_runs_are_swept_and_held_ones_stay(tmp_path: Path) -> None:
    dead = holding(_HOLD_LOCK, tmp_path)
    end(dead)
    assert len(list(tmp_path.iterdir())) == 1, "kill -9 leaves the file"
    locks.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
    alive = holding(_HOLD_LOCK, tmp_path)
    locks.sweep(tmp_path)
    with pytest.raises(BoardHeld, match=f"process {alive.pid}"):
        PortLock("1-3", tmp_path).acquire()
    end(alive)


def test_6_18_folders_of_killed_flashes_are_swept_and_used_ones_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    end(holding(_HOLD_FOLDER, tmp_path))
    old, recent = tmp_path / "hil-dfu-abcdefgh", tmp_path / "hil-dfu-ijklmnop"  # of versions without a lock
    for each in (old, recent):
        each.mkdir()
    os.utime(old, (0, 0))
    alive = holding(_HOLD_FOLDER, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    scratch.sweep()
    left = list(tmp_path.iterdir())
    assert len(left) == 2
    assert recent in left
    end(alive)
    scratch.sweep()
    assert list(tmp_path.iterdir()) == [recent]


def test_one_at_a_time_though_files_come_and_go(tmp_path: Path) -> None:
    inside, most = 0, 0
    taken = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(40):
            lock = PortLock("1-3", tmp_path)
            try:
                lock.acquire()
            except RigError:
                continue
            with taken:
                inside += 1
                most = max(most, inside)
            with taken:
                inside -= 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"pid":1}',
        b"[" * 1024,
        b'{"pid":"x","command":"","since":1}',
        b'{"pid":1,"command":"","since":1e99}',
    ],
)
def test_what_others_write_into_a_lock_file_is_no_holder(data: bytes) -> None:
    assert Holder.read(data) is None


def test_a_holder_s_command_cannot_move_the_cursor() -> None:
    holder = Holder.read(b'{"pid":7,"command":"\\u001b[2Jpytest","since":1}')
    assert holder is not None
    assert "\x1b" not in str(holder)
