"""A cloud for test_cloud_restart to kill: prints its ports and keys as one JSON line, runs until it is killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))

from hil.cloud.sync.facade import DeviceCloud
from tests.cloud.conftest import config
from tests.cloud.kits import KITS


def main() -> None:
    state, tcp_port, udp_port, key = sys.argv[1:]
    kit = KITS["argon"]
    with DeviceCloud(config(Path(state), tcp_port=int(tcp_port), udp_port=int(udp_port))) as cloud:
        if key:
            cloud.register(kit.device_id, platform_id=kit.platform.id, public_key=bytes.fromhex(key))
        said = {
            "tcp": cloud.tcp_port,
            "udp": cloud.udp_port,
            "rsa": cloud.server_keys.rsa_public_der.hex(),
            "ec": cloud.server_keys.ec_public_der.hex(),
        }
        print(json.dumps(said), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
