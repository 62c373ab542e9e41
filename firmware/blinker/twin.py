"""A second, tiny application, for OTA and flash tests to switch to: one function, and it says its name."""

from __future__ import annotations

import json

from hil.twin import Application


class App(Application):
    """Answers function ``blink`` with the number of blinks asked for, and command ``info`` like the probe."""

    SYSTEM_THREAD = True

    def setup(self) -> None:
        self.os.function("blink", _blink)
        self.os.write(f"blinker: version {self.os.version} build {self.os.build}\r\n".encode())

    def control_request(self, payload: bytes) -> tuple[int, bytes]:
        if b'"info"' not in payload:
            return super().control_request(payload)
        info = {
            "app": "blinker",
            "version": self.os.version,
            "build": self.os.build,
            "os": self.os.device_os,
            "boots": self.os.boots,
            "uptime": self.os.millis(),
        }
        return 0, json.dumps(info, separators=(",", ":")).encode()


def _blink(argument: str) -> int:
    """As many as were asked for; -1 for what is no number."""
    if argument and not (argument.isascii() and argument.isdigit()):
        return -1
    return int(argument or 0)
