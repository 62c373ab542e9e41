"""The error tree of the harness.

::

    HilError
    ├── RigError          the bench: a board, a cable, a power switch, USB
    │   ├── BoardNotFound
    │   ├── FlashError
    │   └── ProvisionError
    ├── NetworkError      the path between board and cloud: namespaces, firewall, capture
    ├── CloudError        the Device Cloud
    │   ├── DeviceOffline
    │   ├── DeviceTimeout
    │   ├── NotFound
    │   └── Refused
    ├── WireError         bytes that are not what the protocol says
    └── UsageError        the caller's mistake: a wrong marker, rig file or argument

Each says what was expected, what was found and what to do next. A product failure is an assertion in a
test, never one of these.
"""

from __future__ import annotations


class HilError(Exception):
    """Base of all errors of the harness.

    ``expected``, ``found`` and ``hint`` appear in the message; each may be left out.
    """

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
        super().__init__("\n  ".join(parts))


class RigError(HilError):
    """Trouble of the bench: a board, a cable, a power switch, USB."""


class BoardNotFound(RigError):
    """A board that the rig file names is not where it should be."""


class FlashError(RigError):
    """Firmware did not get onto a board."""


class ProvisionError(RigError):
    """Keys or server address did not get onto a board, or were not read back as written."""


class NetworkError(HilError):
    """Trouble with the path between board and cloud: namespaces, firewall, capture."""


class CloudError(HilError):
    """Trouble with the Device Cloud."""


class DeviceOffline(CloudError):
    """The device is not connected; nothing was sent and nothing was counted."""


class DeviceTimeout(CloudError):
    """The device is believed online and did not answer in time."""


class NotFound(CloudError):
    """No such device, function or variable."""


class Refused(CloudError):
    """The device or the cloud refused what was asked."""


class WireError(HilError):
    """Bytes that are not what the protocol says."""


class UsageError(HilError):
    """The caller's mistake: a wrong marker, rig file or argument."""
