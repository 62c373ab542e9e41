"""Leases, locks between processes, health checks, quarantine, and reasons."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hil.device.platforms import UsbMode
from hil.errors import BoardNotFound, RigError
from hil.rig.locks import BoardHeld, PortLock
from hil.rig.pool import BoardPool, SlotState
from hil.rig.rigfile import CloudTable, RigFile, SlotTable
from tests.rig.memory_bench import ARGON, Bench, slot

ARGON_2 = slot("argon-2", "1-6", "argon", "6.2.0", device_id="e00fce68aabbccddeeff0022")

_HOLD = """
import sys
from pathlib import Path
from hil.rig.locks import PortLock
PortLock("1-3", Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def pool(monkeypatch: pytest.MonkeyPatch, folder: Path, *slots: SlotTable) -> tuple[BoardPool, Bench]:
    bench = Bench(monkeypatch, list(slots))
    rig = RigFile(name="test", cloud=CloudTable(host="127.0.0.1"), slots=slots)
    made = BoardPool(
        rig,
        bench.watcher,
        lambda slot, _watcher: bench.board(slot),
        make_lock=lambda port: PortLock(port, folder),
    )
    return made, bench


def test_a_lease_opens_a_checked_board_and_gives_it_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boards, bench = pool(monkeypatch, tmp_path, ARGON)
    bench.boards["1-3"].os = "6.1.1"
    with boards.lease("argon") as board:
        assert board.device_id == ARGON.device_id
        assert board.device_os == "6.1.1"
        assert boards.status()[0].state is SlotState.LEASED
    assert boards.status()[0].state is SlotState.FREE


def test_a_board_left_in_dfu_or_listening_is_brought_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boards, bench = pool(monkeypatch, tmp_path, ARGON, ARGON_2)
    bench.boards["1-3"].restart(UsbMode.DFU)
    bench.boards["1-6"].listening = True
    for _ in range(2):
        boards.acquire("argon")
    assert [there.mode for there in bench.boards.values()] == [UsbMode.NORMAL] * 2
    assert not bench.boards["1-6"].listening


def test_the_wrong_board_in_a_slot_is_set_aside_and_the_next_one_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boards, bench = pool(monkeypatch, tmp_path, ARGON, ARGON_2)
    bench.boards["1-3"].device_id = "e00fce680000000000000000"
    assert boards.acquire("argon").name == "argon-2"
    status = boards.status()[0]
    assert status.state is SlotState.QUARANTINED
    assert "another board sits in slot argon-1" in status.why
    assert "e00fce680000000000000000" in status.why


def test_features_choose_and_their_lack_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boards, _ = pool(monkeypatch, tmp_path, ARGON_2, ARGON)
    assert boards.acquire("argon", ["ethernet"]).name == "argon-1"
    with pytest.raises(BoardNotFound) as caught:
        boards.acquire("argon", ["sim"])
    assert caught.value.what == "needs an argon with sim; rig test: argon-2 has no sim; argon-1 has no sim"
    assert not boards.offers("argon", ["sim"])
    assert boards.why_not("photon") == "needs a photon; rig test has none (it has argon)"


def test_an_empty_slot_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boards, bench = pool(monkeypatch, tmp_path, ARGON)
    bench.boards["1-3"].unplug()
    with pytest.raises(BoardNotFound, match=r"argon-1 is empty .nothing at USB port 1-3."):
        boards.acquire("argon")


def test_failures_in_a_row_lead_to_quarantine_a_success_forgives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boards, _ = pool(monkeypatch, tmp_path, ARGON, ARGON_2)
    board = boards.acquire("argon")
    boards.report(board, rig_failure="lost USB")
    boards.report(board)
    boards.report(board, rig_failure="lost USB")
    boards.release(board)
    assert boards.acquire("argon").name == "argon-2", "the board with fewer failures goes first"
    boards.report(board, rig_failure="lost USB")
    with pytest.raises(
        BoardNotFound, match=r"argon-1 is quarantined .lost USB .2 times in a row.*argon-2 is leased"
    ):
        boards.acquire("argon")


def test_another_process_s_board_is_refused_by_name_and_free_after_its_death(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boards, _ = pool(monkeypatch, tmp_path, ARGON)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=os.getcwd(),
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout as said:
        assert said.readline() == b"held\n"
        assert boards.status()[0].state is SlotState.HELD
        with pytest.raises(BoardNotFound, match=f"argon-1 is held .held by process {holder.pid} "):
            boards.acquire("argon")
        with pytest.raises(BoardHeld) as caught:
            PortLock("1-3", tmp_path).acquire()
        assert caught.value.holder is not None
        assert caught.value.holder.pid == holder.pid
        holder.kill()
        holder.wait()
    assert boards.acquire("argon").name == "argon-1"


def test_looking_for_the_holder_takes_nothing(tmp_path: Path) -> None:
    first, second = PortLock("1-3", tmp_path), PortLock("1-3", tmp_path)
    assert second.holder() is None
    first.acquire()
    holder = second.holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    first.release()
    assert second.holder() is None
    second.acquire()
    assert second.held


def test_boards_that_no_slot_names_are_strangers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench(monkeypatch, [ARGON, ARGON_2])
    rig = RigFile(name="test", cloud=CloudTable(host="127.0.0.1"), slots=(ARGON,))
    boards = BoardPool(
        rig,
        bench.watcher,
        lambda slot, _watcher: bench.board(slot),
        make_lock=lambda port: PortLock(port, tmp_path),
    )
    assert [stranger.port for stranger in boards.strangers()] == ["1-6"]


def test_a_board_restarts_by_request_and_by_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boards, bench = pool(monkeypatch, tmp_path, ARGON)
    board, there = boards.acquire("argon"), bench.boards["1-3"]
    before = there.address
    board.reset()
    assert there.address == before + 1
    there.unplug()
    with pytest.raises(RigError, match="slot argon-1 is empty"):
        board.reset()
