"""A Device Cloud on a loop of its own, a user, and a scripted Photon: what the HTTP tests and clients talk to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from hil.cloud.compose import compose
from hil.cloud.config import CloudConfig, Policy
from hil.cloud.core.cloud import Cloud
from hil.cloud.core.feature import Feature
from hil.cloud.http.feature import HttpApi
from hil.cloud.state.presence import ContactKind
from hil.device.modules import ModuleFunction, build
from hil.device.platforms import Transport
from hil.wire.messages import VariableType
from tests.cloud_http.scripted_device import PHOTON, ScriptedDevice

Result = TypeVar("Result")
USER = "ada@example.com"
PASSWORD = "a secret"
DEVICE_ID = "3d0034000747343337373738"
FIRMWARE = build(PHOTON.id, ModuleFunction.USER_PART, 1, 5, PHOTON.user_part.start, b"application" * 300, ())
PATIENCE = 30.0  # seconds; only ever used up by a failure


class Live:
    """The cloud and the thread it runs on."""

    def __init__(self, cloud: Cloud, loop: asyncio.AbstractEventLoop) -> None:
        self.cloud = cloud
        self._loop = loop
        self._clients: list[httpx.Client] = []

    @property
    def url(self) -> str:
        """Where the API answers."""
        return self.cloud.feature(HttpApi).url

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the cloud's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def do(self, work: Callable[[], Result]) -> Result:
        """Run a function on the cloud's loop."""

        async def wrapped() -> Result:
            return work()

        return self.run(wrapped())

    def client(self, user: str | None = USER) -> httpx.Client:
        """An HTTP client with a token of ``user``, or without one."""
        headers = {}
        if user is not None:
            token = self.do(lambda: self.cloud.users.issue_token(self.cloud.users.ensure(user)))
            headers["Authorization"] = f"Bearer {token.token}"
        client = httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=PATIENCE)
        self._clients.append(client)
        return client

    def device(self, device_id: str = DEVICE_ID, owner: str = USER) -> ScriptedDevice:
        """A registered device that has not connected yet."""
        address = (self.cloud.config.host, self.cloud.tcp_port)
        device = ScriptedDevice(device_id, self.cloud.key_for(Transport.TCP), address)
        self.do(
            lambda: self.cloud.devices.register(
                device_id, platform_id=PHOTON.id, public_key=device.public_key, owner=owner, name="gate"
            )
        )
        return device

    def connect(self, device: ScriptedDevice) -> None:
        """Let the device connect, and wait until it has described itself."""
        device.start()
        described = self.cloud.until(lambda: self.cloud.devices.get(device.device_id).described, PATIENCE)
        assert self.run(described), "the device did not come online"

    @contextmanager
    def coming_back(self) -> Iterator[None]:
        """What happens inside makes a device connect anew; wait until it has."""
        contacts = self.cloud.services.presence.contacts
        position = len(contacts)
        yield
        back = contacts.wait(
            lambda contact: contact.kind is ContactKind.HELLO, position=position, within=PATIENCE
        )
        assert back, "the device did not come back"

    def close(self) -> None:
        """Close what clients left open."""
        for client in self._clients:
            client.close()


@contextmanager
def live_cloud(
    *more: type[Feature],
    device_timeout: float | None = None,
    policy: Policy | None = None,
    limits: bool = False,
) -> Iterator[Live]:
    """A running cloud on free ports, with :data:`USER` and perhaps ``more`` features."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="cloud under test")
    thread.start()
    config = CloudConfig(
        tcp_port=0,
        udp_port=0,
        http_port=0,
        device_timeout=device_timeout,
        policy=policy or Policy(),
        limits=limits,
    )
    live = Live(compose(config, *more), loop)
    try:
        live.run(live.cloud.start())
        live.do(lambda: live.cloud.users.create(USER, PASSWORD))
        yield live
        live.close()
        live.run(live.cloud.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def scripted_photon(live: Live, *, nodelay: bool = True) -> Iterator[ScriptedDevice]:
    """An online device of :data:`USER` with one of everything."""
    device = live.device()
    device.nodelay = nodelay
    device.functions = {"led": len, "silent": lambda _argument: None}
    device.variables = {
        "temperature": (VariableType.DOUBLE, 21.5),
        "count": (VariableType.INT, -7),
        "ready": (VariableType.BOOL, True),
        "label": (VariableType.STRING, "grün"),
        "broken": (VariableType.DOUBLE, float("nan")),
    }
    live.connect(device)
    try:
        yield device
    finally:
        device.stop()
