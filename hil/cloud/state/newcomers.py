"""Making devices known to a cloud many at once: all of them, or none when one cannot be.

Facts: cloud API fact sheet 2.3 (a device belongs to an account, whose device names it shares with no other).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil.cloud.state.names import device_id_of
from hil.cloud.state.registry import Registry, transport_of_key
from hil.cloud.state.store import Store
from hil.device.platforms import Transport, by_name
from hil.errors import Refused, WireError

PATH = "/hil/devices"  # where the cloud that runs is told of them
# What a device that is known by its key alone is taken for until its Hello says better.
LIKELY_PLATFORM = {Transport.TCP: by_name("photon").id, Transport.DTLS: by_name("argon").id}


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A device to be made known. ``public_key`` is SPKI DER.

    Without ``platform_id`` it keeps its own, or gets a likely one; without ``name`` it keeps its own, or is called
    by the end of its id.
    """

    device_id: str
    public_key: bytes
    platform_id: int | None = None
    name: str | None = None


def introduce(store: Store, registry: Registry, newcomers: Sequence[Newcomer], owner: str) -> None:
    """Register ``newcomers`` and claim them for ``owner``, whosever they were.

    Raises ``Refused`` or ``UsageError`` that names the device which cannot be taken; then nothing is changed.
    """
    _refuse_twins(newcomers)
    for newcomer in newcomers:
        _check(registry, newcomer, owner)
    with store.transaction():
        # Those with a name first: what the others are called gives way to it.
        for newcomer in sorted(newcomers, key=lambda each: each.name is None):
            known = registry.get(newcomer.device_id.lower())
            likely = known.platform_id if known else LIKELY_PLATFORM[transport_of_key(newcomer.public_key)]
            registry.register(
                newcomer.device_id,
                platform_id=likely if newcomer.platform_id is None else newcomer.platform_id,
                public_key=newcomer.public_key,
                owner=owner,
                name=newcomer.name,
            )


def _refuse_twins(newcomers: Sequence[Newcomer]) -> None:
    """No two of one list may have the same id, key or name."""
    seen: dict[tuple[str, object], str] = {}
    for newcomer in newcomers:
        device_id = device_id_of(newcomer.device_id)
        for what, value in (("id", device_id), ("key", newcomer.public_key), ("name", newcomer.name)):
            if value is not None and (what, value) in seen:
                raise Refused(
                    f"two devices of the list have the same {what}",
                    found=f"{seen[what, value]} and {device_id}",
                )
            seen[what, value] = device_id


def _check(registry: Registry, newcomer: Newcomer, owner: str) -> None:
    try:
        registry.check(newcomer.device_id, newcomer.public_key, owner=owner, name=newcomer.name)
    except (Refused, WireError) as error:
        raise Refused(
            f"device {newcomer.device_id}: {error.what}",
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from error
