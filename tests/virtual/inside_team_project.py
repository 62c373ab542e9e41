"""Runs inside a virtual rack, started by ``test_team_project.py`` in a project that is not this repository.

Prints one JSON object: what the cloud and the host saw of the team's own application.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hil.cloud.config import CloudConfig
from hil.cloud.sync.facade import DeviceCloud
from hil.errors import FlashError
from hil.rig.board import Board
from hil.rig.images import FirmwareStore
from hil.rig.pool import BoardPool
from hil.rig.rigfile import find_rig, load_rig
from hil.usb.discovery import UsbWatcher


def visit(board: Board, cloud: DeviceCloud, host: str, images: FirmwareStore) -> dict[str, Any]:
    """Flash the team's application and use it."""
    report = board.provision(cloud.server_keys, host)
    cloud.register(board.device_id, platform_id=board.platform.id, public_key=report.public_key)
    since = cloud.mark()
    board.flash(images.image("green-house", "2", board.platform))
    cloud.wait_online(board.device_id, within=20, since=since)
    watered = cloud.call(board.device_id, "water", "3")
    ready = cloud.events.expect("garden/ready", source=board.device_id, within=10, since=since)
    return {
        "ready": ready.data,
        "watered": watered,
        "liters": cloud.read(board.device_id, "liters"),
        "looped": cloud.events.expect("garden/looped", source=board.device_id, within=10, since=since).data,
    }


def flash_what_has_no_twin(board: Board, file: Path) -> dict[str, str]:
    mark = board.serial.mark()
    try:
        board.flash(file)
    except FlashError as error:
        said = board.serial.expect(r"^hil: .*$", 10, since=mark)[0].strip()
        return {"error": error.what, "serial": said}
    return {}


def main() -> None:
    rig = load_rig(find_rig())
    seen: dict[str, Any] = {"rig": str(find_rig())}
    config = CloudConfig(
        host=rig.cloud.host, tcp_port=rig.cloud.tcp_port, udp_port=rig.cloud.udp_port, http_port=None
    )
    with UsbWatcher() as watcher, DeviceCloud(config) as cloud:
        pool = BoardPool(rig, watcher)
        images = FirmwareStore(rig.firmware.directory)
        for slot in rig.slots:
            with pool.lease(slot.platform) as board:
                seen[slot.name] = visit(board, cloud, rig.cloud.host, images)
        with pool.lease("argon") as board:
            seen["without a twin"] = flash_what_has_no_twin(board, Path(sys.argv[1]))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
