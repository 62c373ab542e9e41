"""A virtual board's cloud client without its machine: facts that a test sets, a scripted server, an application."""

from __future__ import annotations

import socket
import threading
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from functools import cache
from typing import cast

from hil.clock import Clock, SystemClock
from hil.device import keys
from hil.device.keys import PrivateKey, ServerAddress
from hil.device.platforms import Platform, Radio, by_name
from hil.virtual.app.apps import ApplicationHost, ApplicationImage
from hil.virtual.app.wiring import Application, ApplicationFactory
from hil.virtual.cloudclient.client import CloudClient
from hil.virtual.cloudclient.timing import Timing
from hil.virtual.hardware.profile import Profile
from hil.wire.coap.message import Message
from hil.wire.messages import VariableType
from hil.wire.messages.description import Dependency, ModuleInfo, SystemDescribe
from tests.virtual.scripted_server import WITHIN, DtlsServer, Script, TcpServer, server_ec, server_rsa

OS = {"photon": "2.3.1", "electron": "3.3.1", "argon": "6.2.0", "boron": "2.3.1"}
BOARDS = tuple(OS)
UDP_BOARDS = ("electron", "argon", "boron")
DEVICE_IDS = {
    "photon": "3d0034000747343337373738",
    "electron": "3d0034000747343337373738",
    "argon": "e00fce68aabbccddeeff0011",
    "boron": "e00fce68aabbccddeeff0011",
}
# Messages that each board sends on a new session with the test application below, Hello included.
INTRODUCTION = {"photon": 12, "electron": 10, "argon": 10, "boron": 11}
QUICK = Timing(back_off=0.005)


@cache
def device_key(board: str) -> PrivateKey:
    return keys.generate_device_key(by_name(board))


@dataclass
class FakeFacts:
    """The machine as the tests want it to be."""

    platform: Platform
    device_os: str
    device_id: bytes
    private_der: bytes | None
    server_der: bytes | None
    address: ServerAddress | None
    clock: Clock = field(default_factory=SystemClock)
    safe_mode: bool = False
    listening: bool = False
    ota_succeeded: bool = False
    last_reset_reason: str = "power_down"
    backup: MutableMapping[str, bytes] = field(default_factory=dict)
    product_version: int = 0xFFFF
    claim: str | None = None
    user_version: int = 6
    update_result: int = 0
    lines: list[str] = field(default_factory=list)
    applied: list[bytes] = field(default_factory=list)
    resets: list[tuple[str, str]] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)
    serial: bytes = b""
    serial_is_open: bool = False
    notices: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def product_id(self) -> int:
        return self.platform.id

    def device_private_der(self) -> bytes | None:
        return self.private_der

    def server_public_der(self) -> bytes | None:
        return self.server_der

    def server_address(self) -> ServerAddress | None:
        return self.address

    def claim_code(self) -> str | None:
        return self.claim

    def clear_claim_code(self) -> None:
        self.claim = None

    def system_describe(self) -> SystemDescribe:
        cellular = self.platform.radio is Radio.CELLULAR
        needs = Dependency("s", 1, 2302)
        user = ModuleInfo("u", 1, self.user_version, max_size=131072, sha256=bytes(32), dependencies=(needs,))
        return SystemDescribe(
            self.platform.id,
            (ModuleInfo("b", 0, 1006, max_size=16384), user),
            imei="350000000000001" if cellular else None,
        )

    def validate_update(self, file: bytes) -> int:
        assert file
        return self.update_result

    def apply_update(self, file: bytes) -> None:
        with self.changed:
            self.applied.append(file)
            self.changed.notify_all()

    def request_reset(self, reason: str, *, mode: str = "normal", delay: float = 1.0) -> None:
        assert delay > 0
        with self.changed:
            self.resets.append((reason, mode))
            self.changed.notify_all()

    def request_sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)

    def usb_serial_open(self) -> bool:
        return self.serial_is_open

    def usb_serial_write(self, data: bytes) -> None:
        with self.changed:
            self.serial += data
            self.changed.notify_all()

    def notice(self, line: str) -> None:
        self.notices.append(line)
        self.log(line)

    def log(self, line: str) -> None:
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def wait_log(self, text: str, count: int = 1) -> None:
        """Until ``count`` lines of the log hold ``text``."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: sum(text in line for line in self.lines) >= count, timeout=WITHIN
            )
        assert found, f"no {text!r} among {self.lines}"

    def wait_applied(self) -> bytes:
        with self.changed:
            assert self.changed.wait_for(lambda: self.applied, timeout=WITHIN), self.lines
        return self.applied[-1]

    def wait_reset(self) -> tuple[str, str]:
        with self.changed:
            assert self.changed.wait_for(lambda: self.resets, timeout=WITHIN), self.lines
        return self.resets[-1]


class LoopbackNetwork:
    """Real sockets, remembered so that a test can see that they were closed."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.broken = False

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> socket.socket:
        if self.broken:
            raise OSError(100, "Network is down")
        self.sockets.append(socket.socket(family, type))
        return self.sockets[-1]

    def resolve(self, host: str) -> str | None:
        return host if host.startswith("127.") else None


class BenchApp(Application):
    """Functions, variables of each type and a subscription."""

    SYSTEM_THREAD = True

    def setup(self) -> None:
        self.calls: list[str] = []
        self.events: list[tuple[str, bytes]] = []
        self.event_came = threading.Condition()
        self.os.function("led", self.led)
        self.os.function("broken", lambda argument: int(f"x{argument}"))
        self.os.function("huge", lambda _argument: 1 << 31)
        self.os.variable("flag", VariableType.BOOL, lambda: True)
        self.os.variable("count", VariableType.INT, lambda: -2)
        self.os.variable("ratio", VariableType.DOUBLE, lambda: 0.5)
        self.os.variable("text", VariableType.STRING, lambda: "grüße")
        self.os.variable("none", VariableType.STRING, lambda: "")
        self.os.variable("long", VariableType.STRING, lambda: "x" * 3000)
        self.os.subscribe("motion/open", self.received)

    def led(self, argument: str) -> int:
        self.calls.append(argument)
        return len(argument.encode())

    def received(self, name: str, data: bytes) -> None:
        with self.event_came:
            self.events.append((name, data))
            self.event_came.notify_all()

    def wait_events(self, count: int) -> list[tuple[str, bytes]]:
        with self.event_came:
            assert self.event_came.wait_for(lambda: len(self.events) >= count, timeout=WITHIN)
        return self.events


class Bench:
    """One board and its cloud. ``boot`` starts it anew with the same backup RAM, as a reset does.

    Leaving its context stops the board and checks that no thread and no socket is left.
    """

    def __init__(
        self, board: str, *, device_os: str | None = None, timing: Timing = QUICK, clock: Clock | None = None
    ) -> None:
        platform = by_name(board)
        self.board = board
        self.profile = Profile(platform, device_os or OS[board])
        self.timing = timing
        self.server: Script = TcpServer() if self.profile.tcp else DtlsServer()
        self.network = LoopbackNetwork()
        key: PrivateKey = server_rsa() if self.profile.tcp else server_ec()
        self.facts = FakeFacts(
            platform,
            self.profile.device_os,
            bytes.fromhex(DEVICE_IDS[board]),
            keys.private_der(device_key(board)),
            keys.public_der(key),
            ServerAddress(self.server.host, self.server.port or 4711),
            clock=clock or SystemClock(),
        )
        self.factory: ApplicationFactory | None = BenchApp
        self.app: ApplicationHost
        self.client: CloudClient
        self._parts: list[ApplicationHost | CloudClient] = []

    @property
    def udp(self) -> DtlsServer:
        assert isinstance(self.server, DtlsServer)
        return self.server

    @property
    def tcp(self) -> TcpServer:
        assert isinstance(self.server, TcpServer)
        return self.server

    @property
    def application(self) -> BenchApp:
        return cast(BenchApp, self.app._application)

    def boot(self, *, auto_connect: bool = True, wait_for_setup: bool = True, start: bool = True) -> None:
        self.app = ApplicationHost(self.facts, self.factory, ApplicationImage("bench", 1, "0" * 16))
        self.client = CloudClient(self.facts, self.network, self.app, timing=self.timing)
        self._parts += [self.client, self.app]
        self.app.start()
        if wait_for_setup:
            assert self.app.setup_done.wait(WITHIN)
        if start:
            self.client.start(auto_connect)

    def introduced(self, *, first: bool = True) -> list[Message]:
        """The board's first messages on a new session, answered; then it is online.

        It is one less when the session is not the ``first`` of this start, which tells the last reset.
        """
        online = sum("cloud connected" in line for line in self.facts.lines)
        said = self.server.take(INTRODUCTION[self.board] - (not first))
        self.facts.wait_log("cloud connected", online + 1)
        return said

    def online(self) -> list[Message]:
        """Boot and go through the introduction."""
        self.boot()
        return self.introduced()

    def reset(self, *, goodbye: str | None = None) -> None:
        """End this start of the board; backup RAM stays. The goodbye goes unanswered."""
        self.client.stop(goodbye)
        self.app.stop()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._parts:
            part.stop()
        self.server.close()
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """No thread of the board and no open socket."""
        for part in self._parts:
            running = part.running if isinstance(part, ApplicationHost) else part._thread.is_alive()
            assert not running, part
        assert all(made.fileno() == -1 for made in self.network.sockets)
