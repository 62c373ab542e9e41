"""What a rig file may ask of the virtual rack."""

from __future__ import annotations

from hil.device.platforms import PLATFORMS
from hil.device.releases import known_releases
from hil.rig.rigfile import RackLimits
from hil.virtual.hardware.factory import is_built
from hil.virtual.kernel.kernel import port_paths


def rack_limits() -> RackLimits:
    """The platforms that can be built, the releases that they can run, the ports of the rack's bus."""
    platforms = tuple(platform.name for platform in PLATFORMS if is_built(platform))
    return RackLimits(platforms, known_releases(), port_paths())
