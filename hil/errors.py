"""The error tree of the harness. What went wrong is told by the type, never by the words of a message.

::

    HilError
    ├── RigError          the boards and what they hang on: a cable, a power switch, USB, the rack
    │   ├── BoardNotFound
    │   ├── FlashError
    │   │   ├── ImageRefused
    │   │   └── NotRunning
    │   └── ProvisionError
    ├── NetworkError      the path between board and cloud: namespaces, firewall, capture
    ├── CloudError        the Device Cloud
    │   ├── DeviceOffline
    │   ├── DeviceTimeout
    │   ├── NotFound
    │   └── Refused
    │       ├── AccountPaused
    │       ├── NotOwner
    │       └── WrongPlatform
    ├── WireError         bytes that are not what the protocol says
    └── UsageError        the caller's mistake: a wrong marker, rig file or argument
        └── StateInUse

Rooms add their own below these. Each says what was expected, what was found and what to do next. The branch decides
the ``category`` under which a report files a failed test. A product failure is an assertion in a test, never one of
these; a ``Signal`` stays inside the room that raises it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from hil.printable import printable_lines


class Category(StrEnum):
    """Whose trouble a failed test is. Every failed test has exactly one."""

    PRODUCT = "Product"  # an assertion did not hold
    RIG = "Rig"
    NETWORK = "Network"
    CLOUD = "Cloud"
    WIRE = "Wire"
    USAGE = "Usage"
    HARNESS = "Harness"  # hil itself
    TEST = "Test"  # any other exception: the test's own code, or a library's


class HilError(Exception):
    """Base of all errors of the harness.

    ``expected``, ``found`` and ``hint`` appear in the message; each may be left out. The message can be shown as it is.
    """

    category: ClassVar[Category] = Category.HARNESS

    def __init__(self, what: str, *, expected: str = "", found: str = "", hint: str = "") -> None:
        self.what = what
        self.expected = expected
        self.found = found
        self.hint = hint
        parts = [what]
        if expected:
            parts.append(f"expected: {expected}")
        if found:
            parts.append(f"found: {found}")
        if hint:
            parts.append(f"what to do: {hint}")
        # What was found may come from a device, and a message ends on a terminal.
        super().__init__(printable_lines("\n  ".join(parts)))


class Signal(Exception):
    """Base of what a room raises only to catch it again itself, such as an endpoint's stall. Not for users."""


class RigError(HilError):
    """Trouble of the rig: a board, a cable, a power switch, USB."""

    category = Category.RIG


class BoardNotFound(RigError):
    """A board that the rig file names is not where it should be."""


class FlashError(RigError):
    """Firmware did not get onto a board."""


class ImageRefused(FlashError):
    """The image is damaged or not for this board; nothing was written."""


class NotRunning(FlashError):
    """The image was written, and the board does not run it."""


class ProvisionError(RigError):
    """Keys or server address did not get onto a board, or were not read back as written."""


class NetworkError(HilError):
    """Trouble with the path between board and cloud: namespaces, firewall, capture."""

    category = Category.NETWORK


class CloudError(HilError):
    """Trouble with the Device Cloud."""

    category = Category.CLOUD


class DeviceOffline(CloudError):
    """The device is not connected; nothing was sent and nothing was counted."""


class DeviceTimeout(CloudError):
    """The device is believed online and did not answer in time."""


class NotFound(CloudError):
    """No such device, function or variable."""


class Refused(CloudError):
    """The device or the cloud refused what was asked."""


class AccountPaused(Refused):
    """The account has used its Data Operations up; nothing was sent and nothing was counted."""

    def __init__(self) -> None:
        super().__init__("the account is paused: its Data Operations are used up")


class NotOwner(Refused):
    """The device belongs to another account. Particle's command line looks for exactly these words."""

    def __init__(self) -> None:
        super().__init__("That belongs to someone else.")


class WrongPlatform(Refused):
    """The firmware is for another platform than the device's."""


class WireError(HilError):
    """Bytes that are not what the protocol says."""

    category = Category.WIRE


class UsageError(HilError):
    """The caller's mistake: a wrong marker, rig file or argument."""

    category = Category.USAGE


class StateInUse(UsageError):
    """Another cloud has this state directory open."""
