"""Tinker, the application that a board leaves the factory with: four cloud functions on pins nobody wired.

Facts: protocol fact sheet 11.3 (its application Describe).
"""

from __future__ import annotations

from hil.virtual.app.wiring import Application
from hil.virtual.hardware.factory import TINKER_FUNCTIONS

_BAD_PIN = -1


class Tinker(Application):
    """Reads give 0, writes give 1, an argument that names no pin gives -1."""

    def setup(self) -> None:
        for name in TINKER_FUNCTIONS:
            self.os.function(name, _reader if name.endswith("read") else _writer)


def _reader(argument: str) -> int:
    return 0 if _names_pin(argument) else _BAD_PIN


def _writer(argument: str) -> int:
    return 1 if _names_pin(argument) else _BAD_PIN


def _names_pin(argument: str) -> bool:
    """``D0``..``D7`` or ``A0``..``A7`` at the start."""
    return len(argument) >= 2 and argument[0] in "DA" and argument[1] in "01234567"
