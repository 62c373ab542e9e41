"""Text from outside, made safe to show: names, data and reasons of devices and clients.

A terminal obeys what it is shown: it clears itself, sets its clipboard, turns the direction of writing. A log believes
in lines. What cannot be printed is shown as Python would write it, ``\\x1b`` for an escape.
"""

from __future__ import annotations

import re

_SPACED = re.compile(r"[\n\t]")


def printable(text: str) -> str:
    """``text`` in one line, without anything that moves a cursor, breaks a line or turns the direction of writing."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def printable_lines(text: str) -> str:
    """As :func:`printable`, for text that has lines: line feeds and tabs stay."""
    if _SPACED.sub("", text).isprintable():
        return text
    return "".join(one if one in "\n\t" or one.isprintable() else printable(one) for one in text)
