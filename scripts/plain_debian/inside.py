"""The first process of a run: lays out the plain Debian, makes it the root and runs the command there.

Started in a mount and a pid namespace of its own, so that whatever it mounts or starts ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.plain_debian import host
from scripts.plain_debian.accounts import Account
from scripts.plain_debian.common import CANNOT_RUN, REPOSITORY, CannotRun, call, say
from scripts.plain_debian.running import run, run_after_apt_line

SOURCE = "/src/hil"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and in which folders. Paths are those of the machine."""

    base: str
    run: str
    downloads: str | None
    as_user: bool
    command: list[str]

    def text(self) -> str:
        return json.dumps(asdict(self))


def main(text: str) -> int:
    """The command's status."""
    plan = Plan(**json.loads(text))
    account = Account.user() if plan.as_user else Account.root()
    try:
        root = lay_root(plan)
        mount_kernel(root)
        carried = carry(root, account)
        if plan.downloads:
            share_downloads(Path(plan.downloads), root, account)
        clone(Path(plan.run), root, account)
        make_root(root)
    except CannotRun as error:
        say(str(error))
        return CANNOT_RUN
    except OSError as error:
        say(f"the plain Debian could not be laid out: {error}")
        return CANNOT_RUN
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    os.chdir(SOURCE)
    if plan.as_user:
        return run_after_apt_line(plan.command, account, carried)
    return run(plan.command, account, carried)


def lay_root(plan: Plan) -> Path:
    """The root that the run may write to: an overlay, or where the kernel or the file system has none, a copy."""
    folder = Path(plan.run)
    root, upper, work = (folder / name for name in ("root", "upper", "work"))
    for path in (root, upper, work):
        path.mkdir()
    options = f"lowerdir={plan.base},upperdir={upper},workdir={work}"
    try:
        call("mount", "-t", "overlay", "overlay", "-o", options, root, why="no overlay")
    except CannotRun as error:
        say(f"{error}; copying the plain Debian instead")
        call("cp", "-a", "--reflink=auto", f"{plan.base}/.", root, why="the plain Debian could not be copied")
        # Only a mount can become the root.
        call("mount", "--bind", root, root, why="mounting is refused")
    return root


def mount_kernel(root: Path) -> None:
    """/proc, /sys, /dev and /run as on a machine of its own; devices are made anew, so that nobody changes ours."""
    why = "mounting is refused"
    call("mount", "-t", "proc", "proc", root / "proc", why=why)
    call("mount", "-t", "sysfs", "sysfs", root / "sys", why=why)
    call("mount", "-t", "tmpfs", "-o", "mode=755,nosuid,nodev", "tmpfs", root / "run", why=why)
    call("mount", "-t", "tmpfs", "-o", "mode=755,nosuid", "tmpfs", root / "dev", why=why)
    for name in ("pts", "shm", "net"):
        (root / "dev" / name).mkdir()
    call(*("mount", "-t", "tmpfs", "-o", "mode=1777,nosuid,nodev"), "tmpfs", root / "dev/shm", why=why)
    call(
        *("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        *("devpts", root / "dev/pts"),
        why=why,
    )
    for name, target in DEVICE_LINKS.items():
        (root / "dev" / name).symlink_to(target)
    for name in DEVICES:
        if Path("/dev", name).exists():
            _device(Path("/dev", name), root / "dev" / name)


def carry(root: Path, account: Account) -> dict[str, str]:
    """Take over how the network and the registries are reached. Returns the variables that say so."""
    account.make(root)
    carried = host.variables(os.environ)
    for name in (*host.NETWORK_FILES, *host.REGISTRY_FILES):
        host.copy(Path(name), root)
    for name in host.HOME_FILES:
        if host.copy(Path.home() / name, root, Path(account.home, name)):
            account.own(root, Path(account.home, name).parts[:4])
    (root / "etc/apt/apt.conf.d/90carried").write_text(host.apt_settings())
    if host.copy_certificates(carried, root):
        call("chroot", root, "update-ca-certificates", why="the certificates could not be taken over")
    return host.usable(carried, root)


def share_downloads(downloads: Path, root: Path, account: Account) -> None:
    """What earlier runs downloaded; for root and the user apart, since pip and npm want to own theirs."""
    for name, place in (
        ("apt", "/var/cache/apt/archives"),
        (f"pip-{account.name}", f"{account.home}/.cache/pip"),
        (f"npm-{account.name}", f"{account.home}/.npm"),
    ):
        source, target = downloads / name, root / place.lstrip("/")
        source.mkdir(exist_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        if place.startswith(account.home):
            os.chown(source, account.uid, account.uid)
            account.own(root, Path(place).parts[: len(Path(account.home).parts) + 1])
        call("mount", "--bind", source, target, why="mounting is refused")


def clone(run: Path, root: Path, account: Account) -> None:
    """The commit that is checked out, as a clone that belongs to whoever runs the command."""
    settings = run / "gitconfig"
    settings.write_text("[safe]\n\tdirectory = *\n")  # here root reads what another user may own
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": str(settings)}
    status = ("git", "-C", REPOSITORY, "status", "--porcelain")
    changes = call(*status, why="the repository could not be read", environment=environment)
    if changes:
        say(f"runs the last commit; left out are uncommitted changes of {len(changes.splitlines())} files")
    target = root / SOURCE.lstrip("/")
    command = ("git", "clone", "--quiet", "--no-hardlinks", REPOSITORY, target)
    call(*command, why="the repository could not be cloned", environment=environment)
    account.own(root, Path(SOURCE).parts)


def make_root(root: Path) -> None:
    """``root`` becomes the root of this process. By ``chroot`` instead, the kernel would allow no user namespace."""
    os.chdir(root)
    call("pivot_root", ".", "mnt", why="changing the root is refused")
    os.chdir("/")
    call("umount", "--lazy", "/mnt", why="unmounting is refused")


def _device(source: Path, target: Path) -> None:
    status = source.stat()
    try:
        os.mknod(target, status.st_mode, status.st_rdev)
        target.chmod(stat.S_IMODE(status.st_mode))
    except PermissionError:  # a container that may mount but not make devices
        target.touch()
        call("mount", "--bind", source, target, why="mounting is refused")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
