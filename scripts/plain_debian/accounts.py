"""Who runs the command in the plain Debian."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.plain_debian.common import call


@dataclass(frozen=True, slots=True)
class Account:
    """An account as Debian makes it, with the PATH that its login gives: an ordinary user's has no sbin."""

    name: str
    uid: int
    home: str
    path: str

    @classmethod
    def root(cls) -> Account:
        return cls("root", 0, "/root", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")

    @classmethod
    def user(cls) -> Account:
        return cls("user", 1000, "/home/user", "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games")

    def make(self, root: Path) -> None:
        """Make the account below ``root``; root is there already."""
        if self.uid:
            options = ("--create-home", "--shell", "/bin/bash", "--uid", str(self.uid))
            call("chroot", root, "useradd", *options, self.name, why="the user could not be made")

    def own(self, root: Path, parts: Sequence[str]) -> None:
        """Give a tree below ``root`` to this account."""
        if self.uid:
            tree = root.joinpath(*parts[1:])
            call("chown", "--recursive", f"{self.uid}:{self.uid}", tree, why="a file could not be given away")

    def environment(self, carried: Mapping[str, str]) -> dict[str, str]:
        """What a login sets, and how the registries are reached. No language: a plain Debian has none."""
        login = {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": "/bin/bash"}
        return {"PATH": self.path, "TERM": os.environ.get("TERM", "dumb"), **login, **carried}
