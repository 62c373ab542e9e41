"""The cache folder: the plain Debian, made once; downloads of earlier runs; and a folder for each run.

Whoever uses a folder holds a lock on a file beside it, and the kernel lets go of it when he is killed. So a run's
folder whose lock is free is a leftover, and one half made Debian is never taken for a whole one: it gets its name last.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.plain_debian import host
from scripts.plain_debian.common import CannotRun, call, say

VARIABLE = "HIL_PLAIN_CACHE"
SUITE = "bookworm"
INCLUDED = ("git", "python3", "make", "ca-certificates")
# Mounts and processes of its own, that end with whoever started it, also by SIGKILL.
ISOLATED = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
)


@dataclass(frozen=True, slots=True)
class Cache:
    root: Path

    @property
    def base(self) -> Path:
        """The plain Debian; another recipe has another name."""
        recipe = hashlib.sha256(" ".join((SUITE, *INCLUDED)).encode()).hexdigest()[:8]
        return self.root / f"{SUITE}-{recipe}"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"


def folder() -> Path:
    """Where the cache is: the variable's folder, or the user's."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hil" / "plain-debian"


@contextmanager
def base(cache: Cache, *, fresh: bool) -> Iterator[Path]:
    """The plain Debian, made where there is none, and kept from being made anew meanwhile. Raises ``CannotRun``."""
    cache.root.mkdir(parents=True, exist_ok=True)
    path = cache.root / "base.lock"
    if fresh or not cache.base.exists():
        with _lock(path, fcntl.LOCK_EX, "another run uses or makes the plain Debian"):
            if fresh or not cache.base.exists():
                _make(cache)
    with _lock(path, fcntl.LOCK_SH, "another run makes the plain Debian"):
        yield cache.base


@contextmanager
def run_folder(cache: Cache, *, keep: bool) -> Iterator[Path]:
    """A folder for one run, removed at its end unless it is to be kept."""
    cache.runs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _lock(cache.runs / "lock", fcntl.LOCK_EX, "another run starts"):
            run = Path(tempfile.mkdtemp(prefix="run-", dir=cache.runs))
            stack.enter_context(_lock(run / "lock", fcntl.LOCK_EX, "never"))
        try:
            yield run
        finally:
            if keep:
                (run / "keep").touch()
            else:
                remove(run)


@contextmanager
def downloads(cache: Cache) -> Iterator[Path | None]:
    """The folder of downloads; None while another run has it, since apt locks it for itself alone."""
    cache.downloads.mkdir(parents=True, exist_ok=True)
    with open(cache.downloads / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield cache.downloads


def sweep(cache: Cache) -> list[Path]:
    """Remove the folders of runs that were killed, and what they had begun; those kept on purpose stay."""
    swept: list[Path] = []
    if not cache.runs.exists():
        return swept
    with _lock(cache.runs / "lock", fcntl.LOCK_EX, "another run starts"):
        for run in sorted(cache.runs.glob("run-*")):
            if not (run / "keep").exists() and _is_free(run / "lock"):
                remove(run)
                swept.append(run)
    return swept


def remove(tree: Path) -> None:
    """Remove a folder. Raises ``CannotRun`` when something is mounted there: then it is not ours alone."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    if any(f"{line.split()[4]}/".startswith(f"{tree}/") for line in mounts):
        raise CannotRun(f"something is mounted below {tree}, so it is not removed; unmount it first")
    shutil.rmtree(tree, ignore_errors=not tree.exists())


def _make(cache: Cache) -> None:
    half = cache.root / f"{cache.base.name}.half"
    for old in (half, cache.base):
        if old.exists():
            remove(old)
    _get_debootstrap()
    settings = host.apt_settings()
    sources = host.apt_sources(SUITE)
    archive = host.mirror(sources, SUITE)
    say(f"making a plain Debian {SUITE} by debootstrap (once, about a minute) in {cache.base}")
    call(
        *(*ISOLATED, "debootstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}", SUITE, half),
        *([archive] if archive else []),
        why="debootstrap could not make a plain Debian",
        environment=host.debootstrap_environment(settings),
    )
    if sources:
        (half / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in sources))
    half.rename(cache.base)


def _get_debootstrap() -> None:
    if shutil.which("debootstrap"):
        return
    say("installing the Debian package debootstrap")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    why = "debootstrap is not installed and could not be"
    call("apt-get", "update", "-qq", why=why, environment=environment)
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap")
    call(*install, why=why, environment=environment)


@contextmanager
def _lock(path: Path, kind: int, waiting_for: str) -> Iterator[int]:
    with open(path, "w") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting: {waiting_for}")
            fcntl.flock(file, kind)
        yield file.fileno()


def _is_free(path: Path) -> bool:
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
