"""Events that somebody asks for by writing to ``uevent`` (Documentation/ABI/testing/sysfs-uevent in Linux)."""

from __future__ import annotations

import errno
import re

from hil.virtual.kernel.uevents import Uevent
from hil.virtual.kernel.usbnodes import Node

_ACTIONS = ("add", "remove", "change", "move", "online", "offline", "bind", "unbind")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ARGUMENT = re.compile(r"([0-9A-Za-z]+)=([0-9A-Za-z]+)")


def asked_event(node: Node, text: str) -> Uevent:
    """The event of ``node`` that ``text`` asks for: ``action [uuid [KEY=value ...]]``. Raises ``OSError`` EINVAL."""
    action, *rest = text.split() or [""]
    if action not in _ACTIONS:
        raise OSError(errno.EINVAL, f"no action {action!r}")
    more = {"SYNTH_UUID": "0"}
    if rest:
        if not _UUID.fullmatch(rest[0]):
            raise OSError(errno.EINVAL, f"no UUID: {rest[0]}")
        more["SYNTH_UUID"] = rest[0]
    for word in rest[1:]:
        match = _ARGUMENT.fullmatch(word)
        if match is None:
            raise OSError(errno.EINVAL, f"no KEY=value: {word}")
        more[f"SYNTH_ARG_{match[1]}"] = match[2]
    return node.event(action, driver=node.driver, more=more)
