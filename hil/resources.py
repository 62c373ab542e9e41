"""What travels with the package beside its code: rigs, udev rules, test applications.

In the wheel these lie inside the package (``hil/rigs``, ``hil/firmware``), in a checkout beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Name = Literal["firmware", "rigs"]
_PACKAGE = Path(__file__).resolve().parent


def folder(name: Name) -> Path:
    """The folder called ``name``: ``"rigs"`` has the rig of the virtual rack, an example of a bench and the udev
    rules; ``"firmware"`` has the test applications, each with its twin and its C++ source. Raises
    ``FileNotFoundError`` when the installation is not whole.
    """
    for place in (_PACKAGE / name, _PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"{_PACKAGE / name} is not there: this installation of hil is not whole")


def virtual_rig() -> Path:
    """The rig file of the virtual rack, which is used where nobody names another."""
    return folder("rigs") / "virtual.toml"


def udev_rules() -> Path:
    """The udev rules that let an ordinary user open Particle boards."""
    return folder("rigs") / "66-hil-particle.rules"
