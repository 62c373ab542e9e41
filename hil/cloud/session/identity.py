"""Who may speak for which device: the key shown must be the key on file (protocol fact sheet 1.2, 2.6)."""

from __future__ import annotations

import hashlib

from hil.cloud.session.services import Services
from hil.cloud.state.devices import Device
from hil.device.platforms import Transport, by_id
from hil.errors import Refused
from hil.wire.messages.hello import Hello


def fingerprint(spki: bytes) -> str:
    """How a public key (SPKI DER) is called in logs: short, and the same wherever it turns up."""
    return f"key {hashlib.sha256(spki).hexdigest()[:16]}"


def may_connect(services: Services, device_id: str | None, spki: bytes, transport: Transport) -> str | None:
    """Why a peer that has shown this public key is turned away; ``None`` lets it in.

    ``device_id`` is not known yet on DTLS: there the key alone decides, and the Hello later.
    """
    holder = services.registry.holder_of(spki)
    trusting = services.config.first_use_trust
    if device_id is None:
        return None if holder or trusting else f"no device has this {transport.value} key on file"
    if holder is not None:
        return None if holder.id == device_id else f"the key shown is that of device {holder.id}"
    if services.registry.key_on_file(device_id, transport) is not None:
        return "the key shown is not the one on file"
    if trusting:
        return None
    known = services.registry.get(device_id) is not None
    return f"no {transport.value} key on file" if known else "the device is not registered"


def establish(
    services: Services, device_id: str | None, spki: bytes, transport: Transport, hello: Hello
) -> Device:
    """The device that may use a session with this key, registered now if the cloud trusts on first use.

    Raises ``Refused`` for an impostor.
    """
    if device_id is None:
        raise Refused("the Hello names no device")
    reason = may_connect(services, device_id, spki, transport)
    if reason is not None:
        raise Refused(
            f"device {device_id}: {reason} (it shows {fingerprint(spki)})",
            hint="register the device with its public key",
        )
    device = services.registry.get(device_id)
    if device is None or transport not in device.keys:
        device = services.registry.register(
            device_id,
            platform_id=hello.platform_id,
            public_key=spki,
            owner=device.owner if device else services.config.owner,
            name=device.name if device else _first_name(services, hello.platform_id, device_id),
        )
        services.log.add(device_id, "registered on first use")
    return device


def _first_name(services: Services, platform_id: int, device_id: str) -> str:
    try:
        wanted = f"{by_id(platform_id).name}-{device_id[-6:]}"
    except KeyError:
        wanted = None
    return services.registry.free_name(services.config.owner, device_id, wanted)
