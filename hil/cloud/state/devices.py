"""What the cloud knows of a device, and the view of it that callers get."""

from __future__ import annotations

from dataclasses import dataclass, field

from hil.device.platforms import Transport
from hil.device.releases import release_of
from hil.errors import WireError
from hil.wire.coap.message import ContentFormat
from hil.wire.messages import Subscription, VariableType
from hil.wire.messages.description import ApplicationDescribe, SystemDescribe
from hil.wire.messages.hello import Hello

UNSET_VERSION = 0xFFFF


@dataclass(slots=True)
class Device:
    """One registered device, as the store has it. Times are seconds since 1970.

    ``application`` is ``None`` until the device has described its application since its last Hello.
    """

    id: str
    name: str
    owner: str | None
    platform_id: int
    created_at: float
    product_id: int | None = None
    product_version: int | None = None
    notes: str | None = None
    last_handshake: float | None = None
    last_heard: float | None = None
    last_ip: str | None = None
    keys: dict[Transport, bytes] = field(default_factory=dict)
    hello: Hello | None = None
    system: SystemDescribe | None = None
    application: ApplicationDescribe | None = None
    subscriptions: tuple[Subscription, ...] = ()
    vitals: bytes | None = None
    vitals_at: float | None = None
    times_described: int = 0  # system Describes in this run, to tell a fresh one from an old one
    keep_alive: float | None = None  # seconds, when somebody has said so
    describe_anew: bool = False  # what the store had of its description is lost

    @property
    def system_version(self) -> int | None:
        """System module version: from the Hello, or (before 3.0) from the system Describe."""
        if self.hello is not None and self.hello.system_version is not None:
            return self.hello.system_version
        if self.system is None:
            return None
        return max((module.version for module in self.system.modules if module.function == "s"), default=None)

    @property
    def os_version(self) -> str | None:
        """The Device OS release such as ``6.2.0``; ``None`` when it is not known."""
        version = self.system_version
        return None if version is None else release_of(version)

    @property
    def os_rules(self) -> str | None:
        """The release whose rules hold for the device: ``os_version``, or one as old as its system module.

        The table knows few releases, but every module version starts with the digits of its major and minor
        release (6100 is a 6.1).
        """
        version = self.system_version
        if version is None:
            return None
        return release_of(version) or f"{version // 1000}.{version // 100 % 10}.0"


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A snapshot of a device. Times are seconds since 1970.

    ``functions`` and ``variables`` are empty until the device has described its application. ``keep_alive`` in
    seconds, ``None`` when nobody has told the cloud another than the platform's.
    """

    id: str
    name: str
    owner: str | None
    platform_id: int
    online: bool
    functions: tuple[str, ...]
    variables: dict[str, VariableType]
    described: bool
    system: SystemDescribe | None
    hello: Hello | None
    product_id: int
    firmware_version: int | None
    os_version: str | None
    system_version: int | None
    notes: str | None
    last_handshake: float | None
    last_heard: float | None
    last_ip: str | None
    imei: str | None
    iccid: str | None
    subscriptions: tuple[Subscription, ...]
    keys: dict[Transport, bytes]
    created_at: float
    keep_alive: float | None

    @property
    def device_id(self) -> str:
        """The same as ``id``: a view may stand wherever a device is asked for."""
        return self.id

    @property
    def application_hash(self) -> str | None:
        """SHA-256 of the user application in hex, as the device's own Describe gives it."""
        found = application_hash(self.system)
        return None if found is None else found.hex()


def application_hash(system: SystemDescribe | None) -> bytes | None:
    """SHA-256 of the application (user part or monolithic) that a device says it has."""
    modules = system.modules if system is not None else ()
    hashes = (module.sha256 for module in modules if module.function in ("u", "m"))
    return next((value for value in hashes if value), None)


def view_of(device: Device, *, online: bool) -> DeviceView:
    """A snapshot of ``device``."""
    application, system = device.application, device.system
    version = device.product_version
    return DeviceView(
        id=device.id,
        name=device.name,
        owner=device.owner,
        platform_id=device.platform_id,
        online=online,
        functions=application.functions if application else (),
        variables=dict(application.variables) if application else {},
        described=application is not None,
        system=system,
        hello=device.hello,
        product_id=device.platform_id if device.product_id is None else device.product_id,
        firmware_version=None if version == UNSET_VERSION else version,
        os_version=device.os_version,
        system_version=device.system_version,
        notes=device.notes,
        last_handshake=device.last_handshake,
        last_heard=device.last_heard,
        last_ip=device.last_ip,
        imei=system.imei if system else None,
        iccid=system.iccid if system else None,
        subscriptions=device.subscriptions,
        keys=dict(device.keys),
        created_at=device.created_at,
        keep_alive=device.keep_alive,
    )


def parse_system(payload: bytes, content_format: int | None) -> SystemDescribe:
    """A system Describe in either of its forms. Raises ``WireError``."""
    if content_format == ContentFormat.OCTET_STREAM:
        return SystemDescribe.from_protobuf(payload)
    return SystemDescribe.from_json(payload)


def parse_hello(payload: bytes | None) -> Hello | None:
    """A stored Hello; ``None`` when there is none or it no longer parses."""
    if payload is None:
        return None
    try:
        return Hello.decode(payload)
    except WireError:
        return None
