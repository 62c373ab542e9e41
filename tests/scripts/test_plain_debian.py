"""``scripts/plain-debian`` without a plain Debian: its command line, its cache, its words where it cannot run."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.plain_debian import cache, command
from scripts.plain_debian.common import REPOSITORY, CannotRun, call

FAKE = """#!/bin/sh
echo "$@" >>{log}
for word; do case $word in /*.half) folder=$word ;; esac; done
mkdir -p "$folder/etc/apt" && echo whole >"$folder/made"
{end}
"""


@pytest.fixture
def store(tmp_path: Path) -> cache.Cache:
    return cache.Cache(tmp_path / "cache")


@pytest.fixture
def debootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a debootstrap in place that only logs its arguments and ends as told."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(cache, "ISOLATED", ())
    monkeypatch.setattr("scripts.plain_debian.host.apt_settings", str)
    archive = "deb http://archive.test/debian bookworm main"
    monkeypatch.setattr("scripts.plain_debian.host.apt_sources", lambda _suite: [archive])

    def place(end: str) -> Path:
        (folder / "debootstrap").write_text(FAKE.format(log=log, end=end))
        (folder / "debootstrap").chmod(0o755)
        return log

    return place


def refused(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_help_tells_the_options_an_example_and_the_statuses() -> None:
    script = REPOSITORY / "scripts/plain-debian"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    for word in ("--user", "--fresh", "--keep", "-- make hil", "77", cache.VARIABLE):
        assert word in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--user", "--"], ["--nobody", "--", "make", "hil"]])
def test_a_wrong_command_line_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.parse(arguments)
    assert left.value.code == 2
    assert "usage: scripts/plain-debian" in capsys.readouterr().err


def test_what_follows_the_dashes_is_the_command() -> None:
    options = command.parse(["--user", "--keep", "--", "make", "hil", "ARGS=-k publish", "--", "--fresh"])
    assert options.command == ["make", "hil", "ARGS=-k publish", "--", "--fresh"]
    assert (options.as_user, options.keep, options.fresh) == (True, True, False)
    assert command.parse(["make", "test"]).command == ["make", "test"]


def test_without_root_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert command.main(["--", "make", "hil"]) == 77
    refused("needs root for debootstrap and mounts", capsys)
    assert not (tmp_path / "cache").exists()


def test_where_namespaces_are_refused_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(cache, "ISOLATED", ("sh", "-c", "echo unshare failed; exit 1"))
    assert command.main(["--", "make", "hil"]) == 77
    refused("namespaces are refused here: unshare failed", capsys)


def test_a_failing_debootstrap_is_no_failing_command(
    store: cache.Cache, debootstrap: Callable[[str], Path]
) -> None:
    debootstrap("echo E: cannot download >&2; exit 1")
    with pytest.raises(CannotRun, match=r"could not make a plain Debian: E: cannot download"):
        cache.base(store, fresh=False).__enter__()
    assert not store.base.exists()


def test_the_debian_is_made_once_and_anew_when_half_made_or_asked_for(
    store: cache.Cache, debootstrap: Callable[[str], Path]
) -> None:
    log = debootstrap("exit 0")
    half = store.root / f"{store.base.name}.half"
    half.mkdir(parents=True)
    (half / "from a killed run").touch()
    for fresh, times in ((False, 1), (False, 1), (True, 2)):
        with cache.base(store, fresh=fresh) as base:
            assert sorted(path.name for path in base.iterdir()) == ["etc", "made"]
        assert len(log.read_text().splitlines()) == times
    assert not half.exists()
    assert (store.base / "etc/apt/sources.list").read_text().startswith("deb http://archive.test/debian ")
    arguments = log.read_text().splitlines()[0].split()
    assert "--variant=minbase" in arguments
    assert arguments[-3:] == ["bookworm", str(half), "http://archive.test/debian"]


def test_a_run_has_a_folder_until_it_ends(store: cache.Cache) -> None:
    with cache.run_folder(store, keep=False) as run:
        assert cache.sweep(store) == []  # its owner lives
        assert run.exists()
    assert not run.exists()


def test_leftovers_of_killed_runs_are_swept_and_kept_ones_stay(store: cache.Cache) -> None:
    with cache.run_folder(store, keep=True) as kept:
        (kept / "upper").mkdir()
    killed, other, unlocked = (store.runs / f"run-{name}" for name in ("killed", "other", "unlocked"))
    for run in (killed, other, unlocked):
        (run / "upper" / "deep").mkdir(parents=True)
    (killed / "lock").touch()
    with open(other / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cache.sweep(store) == [killed, unlocked]
    assert kept.exists()
    assert other.exists()
    assert not killed.exists()


def test_only_one_run_has_the_downloads(store: cache.Cache) -> None:
    with cache.downloads(store) as first, cache.downloads(store) as second:
        assert first == store.downloads
        assert second is None
    with cache.downloads(store) as third:
        assert third == store.downloads


def test_nothing_is_removed_where_something_is_mounted() -> None:
    with pytest.raises(CannotRun, match=r"mounted below /proc.*unmount it first"):
        cache.remove(Path("/proc"))


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(CannotRun, match=r"mounting is refused: .*no-such-tool"):
        call("no-such-tool", why="mounting is refused")
