"""What every power switch raises when it does not do what it was told."""

from __future__ import annotations

from hil.errors import RigError


class SwitchFailed(RigError):
    """A board's power could not be switched: the trouble is the switch's and not the board's."""
