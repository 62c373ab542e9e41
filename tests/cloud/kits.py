"""What four boards with four ages of Device OS say of themselves: protocol fact sheet 11.1."""

from __future__ import annotations

from dataclasses import dataclass

from hil.device.platforms import Platform, by_name
from hil.wire.dtls import ResumeForm


@dataclass(frozen=True)
class Kit:
    """One of the four boards; ``hello`` is its Hello as section 11.1 prints it."""

    name: str
    hello: str
    device_id: str
    resume: ResumeForm | None = None
    offer_cid: bool = False
    protobuf: bool = False
    token: bool = False
    v3: bool = False

    @property
    def platform(self) -> Platform:
        return by_name(self.name)


KITS = {
    kit.name: kit
    for kit in (
        Kit("photon", "50020001b168ff0006ffff00360006", "3d0034000747343337373738"),
        Kit(
            "boron",
            "40020001b168ff000dffff0076000d000ce00fce68aabbccddeeff0011",
            "e00fce68c3d4e5f607182930",
            resume=ResumeForm.DEVICE_ID,
        ),
        Kit(
            "electron",
            "40020001b168ff000affff0036000a000c3d00340007473433373737380ce603c0000200000200",
            "2b0041000251363131363432",
            resume=ResumeForm.CID,
            offer_cid=True,
            token=True,
        ),
        Kit(
            "argon",
            "40020001b168ff000cffff00f6000c000ce00fce68aabbccddeeff001118380480001770000200",
            "e00fce68aabbccddeeff0011",
            resume=ResumeForm.MOVE,
            offer_cid=True,
            protobuf=True,
            token=True,
            v3=True,
        ),
    )
}
