"""Commands on disks that are too small or cannot be written: mounts of their own, without privilege, gone with them."""

from __future__ import annotations

from pathlib import Path

_ISOLATED = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def on_small_disk(disk: Path, size: str, *command: str) -> list[str]:
    """``command`` with an empty disk of ``size`` (``2m``) at ``disk``, which goes when the command ends."""
    return [
        *_ISOLATED,
        'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"',
        "sh",
        size,
        str(disk),
        *command,
    ]


def on_read_only(directory: Path, *command: str) -> list[str]:
    """``command``, for which nothing below ``directory`` can be changed."""
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    return [*_ISOLATED, script, "sh", str(directory), *command]


def seen_by(process: int, path: Path) -> Path:
    """``path`` as the process has it."""
    return Path(f"/proc/{process}/root") / path.relative_to("/")
