"""What udevd leaves of a device: its file in /run/udev/data, its tags and its links below /dev (udev(7))."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hil.virtual.kernel.usbnodes import Node


class UdevDatabase:
    """The files that libudev reads."""

    def __init__(self, run: Path = Path("/run/udev")) -> None:
        self._run = run

    def write(self, node: Node, properties: Mapping[str, str], *, current: bool) -> None:
        """``properties`` are what udev knows of ``node``; without ``current`` its tags are an earlier event's."""
        lines = [f"S:{link.removeprefix('/dev/')}" for link in node.links]
        lines.append(f"I:{node.appeared}")
        lines += [f"E:{key}={value}" for key, value in properties.items()]
        for tag in node.tags:
            lines += [f"G:{tag}", *([f"Q:{tag}"] if current else [])]
            directory = self._run / "tags" / tag
            directory.mkdir(parents=True, exist_ok=True)
            (directory / node.database_name).touch()
        lines.append("V:1")
        path = self._run / "data" / node.database_name
        # Whole or not at all: a reader must not find half of it.
        draft = path.with_name(f".{path.name}")
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.rename(path)
        for name in node.links:
            self._add_link(Path(name), node)

    def forget(self, node: Node) -> None:
        """Nothing is left of ``node``."""
        for name in node.links:
            self._remove_link(Path(name), node)
        (self._run / "data" / node.database_name).unlink(missing_ok=True)
        for tag in node.tags:
            (self._run / "tags" / tag / node.database_name).unlink(missing_ok=True)

    def busy(self, is_busy: bool) -> None:
        """``udevadm settle`` waits while this file is there."""
        queue = self._run / "queue"
        if is_busy:
            queue.touch()
        else:
            queue.unlink(missing_ok=True)

    @staticmethod
    def _add_link(link: Path, node: Node) -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        draft = link.with_name(f".#{link.name}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(os.path.relpath(Path("/dev", node.name), link.parent))
        draft.rename(link)

    @staticmethod
    def _remove_link(link: Path, node: Node) -> None:
        # Two boards that claim one serial number share the link: it may belong to the other by now.
        if link.is_symlink() and Path(os.readlink(link)).name == node.name:
            link.unlink()
