"""Somebody who plays with a cloud until it is killed: ``python -m benchmarks.kill_player MOMENT SLOT``, in a rack.

Says ``AT moment`` each time; ends when the cloud no longer answers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import httpx

from hil.device.platforms import by_name
from hil.rig.images import FirmwareStore
from hil.rig.rigfile import RigFile, SlotTable, find_rig, load_rig

_LONGEST = 90.0  # seconds
_SIZE = 120_000  # bytes
_BACK = 20.0  # seconds within which a board is online again


class Player:
    """What he does with one board."""

    def __init__(self, rig: RigFile, slot: SlotTable) -> None:
        self._slot = slot
        store = FirmwareStore.of(rig)
        self._images = [
            store.image("probe", version, by_name(slot.platform)).padded(_SIZE) for version in "21"
        ]
        headers = {"Authorization": f"Bearer {os.environ['HIL_CLOUD_TOKEN']}"}
        self._http = httpx.Client(base_url=os.environ["HIL_CLOUD_URL"], headers=headers, timeout=60.0)

    def run(self) -> None:
        """One event from the API."""
        self._http.post("/v1/devices/events", json={"name": "kills/run", "data": "1"}).raise_for_status()
        time.sleep(0.05)

    def power(self) -> None:
        """The board loses its power and comes back to the cloud."""
        for action in ("off", "on"):
            subprocess.run(["hil", "rack", "power", action, self._slot.port], check=True)
        self._wait_online()

    def update(self) -> None:
        """An update over the air; taken only once the one before is over and the board is back."""
        self._images.reverse()
        files = {"file": ("firmware.bin", self._images[0].data)}
        ends = time.monotonic() + _BACK
        while (answer := self._http.put(f"/v1/devices/{self._slot.device_id}", files=files)).is_error:
            if time.monotonic() > ends:
                answer.raise_for_status()
            time.sleep(0.1)

    def _wait_online(self) -> None:
        ends = time.monotonic() + _BACK
        while time.monotonic() < ends:
            if self._http.get(f"/v1/devices/{self._slot.device_id}").json()["online"]:
                return
            time.sleep(0.05)


def play(moment: str, slot: str) -> None:
    """Play until nobody answers."""
    rig = load_rig(find_rig())
    player = Player(rig, next(each for each in rig.slots if each.name == slot))
    ends = time.monotonic() + _LONGEST
    while time.monotonic() < ends:
        print(f"AT {moment}", flush=True)
        try:
            getattr(player, moment)()
        except httpx.TransportError:
            return


if __name__ == "__main__":
    play(*sys.argv[1:])
