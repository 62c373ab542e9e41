"""Registered devices: identity, keys, owner, and what each last said about itself.

A device that shows a key other than the one on file is refused; a device without a key on file is refused
too, unless the cloud trusts on first use. Everything is in the store before the caller returns, so a
resumed session finds functions, variables and subscriptions after any restart (protocol fact sheet 7).
"""

from __future__ import annotations

import json
import secrets
from dataclasses import fields, replace
from functools import partial

from hil.cloud.state.devices import Device, parse_system
from hil.cloud.state.names import device_id_of, is_device_id
from hil.cloud.state.rows import Unreadable
from hil.cloud.state.store import Store
from hil.device.keys import EC_PUBLIC_SIZE, load_public
from hil.device.platforms import Transport
from hil.errors import NotFound, NotOwner, Refused, WireError
from hil.wire.messages import Subscription
from hil.wire.messages.description import ApplicationDescribe
from hil.wire.messages.hello import Hello

LONGEST_KEEP_ALIVE = 86_400.0  # seconds
MAX_SUBSCRIPTIONS = 100  # of one device; Device OS itself has six (protocol fact sheet 6)
MAX_NAME = 64  # characters of a device's name
MAX_NOTES = 1000  # characters; no source says how many the real cloud takes
CLAIM_CODE_LENGTH = 63  # characters
CLAIM_CODE_LIFETIME = 3600.0  # seconds

_SCHEMA = (
    """
    CREATE TABLE devices (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT, platform_id INTEGER NOT NULL,
        created_at REAL NOT NULL, product_id INTEGER, product_version INTEGER, notes TEXT,
        last_handshake REAL, last_heard REAL, last_ip TEXT, hello BLOB, system BLOB, system_format INTEGER,
        application BLOB, vitals BLOB, vitals_at REAL
    );
    CREATE INDEX devices_of_owner ON devices(owner);
    CREATE TABLE device_keys (
        device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE, transport TEXT NOT NULL,
        spki BLOB NOT NULL, PRIMARY KEY (device_id, transport)
    );
    CREATE UNIQUE INDEX key_is_one_device ON device_keys(spki);
    CREATE TABLE device_subscriptions (
        device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE, prefix TEXT NOT NULL,
        device_filter TEXT NOT NULL, flags TEXT NOT NULL, PRIMARY KEY (device_id, prefix, device_filter)
    );
    CREATE TABLE claim_codes (code TEXT PRIMARY KEY, user TEXT NOT NULL, created_at REAL NOT NULL)
    """,
    "ALTER TABLE devices ADD COLUMN keep_alive REAL",
)


class Registry:
    """All devices of one cloud. Objects it hands out are its own: change them through its methods only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.migrate("registry", _SCHEMA)
        self.unreadable = Unreadable()
        self._devices = {
            row["id"]: self.unreadable.device(row) for row in store.query("SELECT * FROM devices")
        }
        self._by_key: dict[bytes, str] = {}
        for row in store.query("SELECT * FROM device_keys"):
            transport = self.unreadable.transport(row)
            if transport is not None:
                self._devices[row["device_id"]].keys[transport] = row["spki"]
                self._by_key[row["spki"]] = row["device_id"]
        for row in store.query("SELECT * FROM device_subscriptions ORDER BY rowid"):
            wanted = self.unreadable.subscription(row)
            if wanted is not None:
                device = self._devices[row["device_id"]]
                device.subscriptions = (*device.subscriptions, wanted)

    # Identity and keys

    def register(
        self,
        device_id: str,
        *,
        platform_id: int,
        public_key: bytes | None = None,
        owner: str | None,
        name: str | None = None,
    ) -> Device:
        """Make a device known, or bring what is known up to date.

        ``public_key`` is SPKI DER and replaces the key on file for its transport. Raises ``Refused`` when the
        key is another device's or the owner has another device of that name, ``WireError`` when it is no key;
        then nothing is changed.
        """
        device_id = device_id_of(device_id)
        self.check(device_id, public_key, owner=owner, name=name)
        with self._store.transaction():
            device = self._devices.get(device_id)
            self._may_be_undone(device_id)
            if device is None:
                called = name or self.free_name(owner, device_id)
                device = Device(device_id, called, owner, platform_id, self._store.now())
                self._insert(device)
            else:
                called = name or self.free_name(owner, device_id, device.name)
                self._set(device, owner=owner, platform_id=platform_id, name=called)
            if public_key is not None:
                self.set_key(device_id, public_key)
        return device

    def check(
        self, device_id: str, public_key: bytes | None = None, *, owner: str | None, name: str | None = None
    ) -> None:
        """Raise what :meth:`register` would, and change nothing."""
        device_id = device_id_of(device_id)
        if public_key is not None:
            self._check_key(device_id, public_key)
        if name is not None:
            self._check_name(device_id, name, owner)

    def set_key(self, device_id: str, public_key: bytes) -> Transport:
        """Put a device's public key (SPKI DER) on file and return the transport it is for."""
        transport = self._check_key(device_id, public_key)
        device = self.require(device_id)
        self._may_be_undone(device_id)
        self._store.execute(
            "INSERT OR REPLACE INTO device_keys VALUES (?, ?, ?)", device_id, transport.value, public_key
        )
        self._by_key.pop(device.keys.get(transport, b""), None)
        device.keys[transport] = public_key
        self._by_key[public_key] = device_id
        return transport

    def _check_key(self, device_id: str, public_key: bytes) -> Transport:
        transport = transport_of_key(public_key)
        holder = self._by_key.get(public_key)
        if holder not in (None, device_id):
            raise Refused(f"this public key belongs to device {holder}", hint="give each device its own key")
        return transport

    def key_on_file(self, device_id: str, transport: Transport) -> bytes | None:
        """The public key a device must show on ``transport``."""
        device = self._devices.get(device_id)
        return device.keys.get(transport) if device else None

    def holder_of(self, public_key: bytes) -> Device | None:
        """The device that has this public key on file."""
        holder = self._by_key.get(public_key)
        return self._devices.get(holder) if holder else None

    def _insert(self, device: Device) -> None:
        self._store.execute(
            "INSERT INTO devices (id, name, owner, platform_id, created_at) VALUES (?, ?, ?, ?, ?)",
            device.id,
            device.name,
            device.owner,
            device.platform_id,
            device.created_at,
        )
        self._devices[device.id] = device

    # Looking up

    def get(self, device_id: str) -> Device | None:
        """The device with this id."""
        return self._devices.get(device_id)

    def require(self, device_id: str) -> Device:
        """The device with this id. Raises ``NotFound``."""
        device = self._devices.get(device_id.lower())
        if device is None:
            raise NotFound(
                f"no device {device_id} in this cloud",
                found=", ".join(sorted(self._devices)) or "no device at all",
                hint="register it, with its public key",
            )
        return device

    def name_of(self, device_id: str) -> str:
        """The name of a device; empty for one that is not known."""
        device = self._devices.get(device_id)
        return device.name if device else ""

    def all(self) -> list[Device]:
        """Every device, in the order of registration."""
        return list(self._devices.values())

    def of_owner(self, owner: str | None) -> list[Device]:
        """The devices of one owner."""
        return [device for device in self._devices.values() if device.owner == owner]

    def find(self, owner: str, id_or_name: str) -> Device:
        """A device by id, or one of the owner's by name. Raises ``NotFound``; ``NotOwner`` if not the owner's."""
        lowered = id_or_name.lower()
        if is_device_id(lowered) and lowered in self._devices:
            device = self._devices[lowered]
            if device.owner != owner:
                raise NotOwner
            return device
        for device in self.of_owner(owner):
            if device.name == id_or_name:
                return device
        raise NotFound("I didn't recognize that device name or ID", found=id_or_name)

    # Ownership

    def claim(self, owner: str, device_id: str) -> Device:
        """Give an unowned device to ``owner``. Raises ``NotOwner`` when it is somebody else's."""
        device = self.require(device_id)
        if device.owner not in (None, owner):
            raise NotOwner
        self._give(device, owner)
        return device

    def unclaim(self, owner: str, device_id: str) -> None:
        """Take a device from ``owner``; it stays registered."""
        device = self.find(owner, device_id)
        self._set(device, owner=None)

    def rename(self, device_id: str, name: str) -> None:
        """Give a device another name. Raises ``Refused`` for no name at all, and for one that its owner uses."""
        device = self.require(device_id)
        self._check_name(device.id, name, device.owner)
        self._set(device, name=name)

    def free_name(self, owner: str | None, device_id: str, wanted: str | None = None) -> str:
        """What a device may be called: ``wanted``, or as much of the end of its id as tells it from the others."""
        ends = [device_id[-length:] for length in (6, 12, len(device_id))]
        names = ends if wanted is None else [wanted, *ends]
        return next(
            (name for name in names if self._holder_of_name(owner, name) in (None, device_id)), ends[-1]
        )

    def release_name(self, owner: str | None, name: str, device_id: str) -> Device | None:
        """Have ``name`` free for ``device_id``. Returns the owner's device that had it, which has another now."""
        holder = self._holder_of_name(owner, name)
        if holder in (None, device_id):
            return None
        device = self.require(holder)
        ends = holder[-12:] if name == holder[-6:] else holder[-6:]
        self._set(device, name=self.free_name(owner, holder, ends))
        return device

    def _check_name(self, device_id: str, name: str, owner: str | None) -> None:
        """No two devices of one account share a name: whoever asks by name gets one (cloud API fact sheet 2.3)."""
        if not name or len(name) > 64:
            raise Refused("not a device name", expected="1 to 64 characters", found=repr(name))
        holder = self._holder_of_name(owner, name)
        if holder not in (None, device_id):
            raise Refused(
                f"device {holder} of the same account is called {name!r} already",
                hint="choose another name, or rename that device first",
            )

    def _holder_of_name(self, owner: str | None, name: str) -> str | None:
        """The owner's device of this name. Devices without an owner may be called as they like."""
        if owner is None:
            return None
        return next((device.id for device in self.of_owner(owner) if device.name == name), None)

    def _give(self, device: Device, owner: str | None) -> None:
        """Change the owner; a name that the new one uses already is not kept."""
        self._set(device, owner=owner, name=self.free_name(owner, device.id, device.name))

    def set_notes(self, device_id: str, notes: str) -> None:
        """Replace a device's notes. Raises ``Refused`` when they are too long."""
        if len(notes) > MAX_NOTES:
            raise Refused("notes too long", expected=f"at most {MAX_NOTES} characters", found=str(len(notes)))
        self._set(self.require(device_id), notes=notes)

    def set_keep_alive(self, device_id: str, seconds: float | None) -> None:
        """What the device's keep-alive is; ``None`` leaves it to its platform. Raises ``Refused``."""
        if seconds is not None and not 0 < seconds <= LONGEST_KEEP_ALIVE:
            raise Refused(
                "not a keep-alive", expected=f"up to {LONGEST_KEEP_ALIVE:g} seconds", found=f"{seconds:g}"
            )
        self._set(self.require(device_id), keep_alive=seconds)

    def claim_code(self, user: str) -> str:
        """A code that makes the device which sends it belong to ``user``."""
        code = secrets.token_urlsafe(48)[:CLAIM_CODE_LENGTH]
        now = self._store.now()
        self._store.execute("DELETE FROM claim_codes WHERE created_at < ?", now - CLAIM_CODE_LIFETIME)
        self._store.execute("INSERT INTO claim_codes VALUES (?, ?, ?)", code, user, now)
        return code

    def redeem(self, code: str, device_id: str) -> str | None:
        """Use up a claim code: the device's new owner, or ``None`` when the code is no good."""
        oldest = self._store.now() - CLAIM_CODE_LIFETIME
        with self._store.transaction():
            row = self._store.one("SELECT user FROM claim_codes WHERE code=? AND created_at>?", code, oldest)
            if row is None:
                return None
            self._store.execute("DELETE FROM claim_codes WHERE code=?", code)
            self._give(self.require(device_id), row["user"])
        return str(row["user"])

    # What the device says

    def saw_hello(self, device_id: str, hello: Hello, address: str, platform_id: int | None = None) -> Device:
        """A new session: what it says now counts, what it said about its application and wishes does not.

        ``platform_id`` stands in for what the Hello says of the platform.
        """
        device = self.require(device_id)
        now = self._store.now()
        with self._store.transaction():
            self._set(
                device,
                platform_id=hello.platform_id if platform_id is None else platform_id,
                product_id=hello.product_id,
                product_version=hello.product_version,
                last_handshake=now,
                last_heard=now,
                last_ip=address,
            )
            self._store.execute(
                "UPDATE devices SET hello=?, application=NULL WHERE id=?", hello.encode(), device_id
            )
            self._store.execute("DELETE FROM device_subscriptions WHERE device_id=?", device_id)
        device.hello, device.application, device.subscriptions = hello, None, ()
        device.describe_anew = False
        return device

    def saw_resume(self, device_id: str, address: str) -> None:
        """A session taken up again: everything that is known still counts."""
        now = self._store.now()
        self._set(self.require(device_id), last_handshake=now, last_heard=now, last_ip=address)

    def heard(self, device_id: str, address: str) -> None:
        """A sign of life; in memory only, since it comes with every message (see :meth:`keep_heard`)."""
        device = self.require(device_id)
        device.last_heard, device.last_ip = self._store.now(), address

    def keep_heard(self, device_id: str) -> None:
        """Put the last sign of life into the store."""
        device = self.require(device_id)
        self._set(device, last_heard=device.last_heard, last_ip=device.last_ip)

    def saw_system(self, device_id: str, payload: bytes, content_format: int | None) -> None:
        """A system Describe. Raises ``WireError`` and keeps the old one when it does not parse."""
        device = self.require(device_id)
        self._may_be_undone(device_id)
        device.system = parse_system(payload, content_format)
        device.times_described += 1
        device.describe_anew = False
        self._store.execute(
            "UPDATE devices SET system=?, system_format=? WHERE id=?", payload, content_format, device_id
        )

    def saw_application(self, device_id: str, payload: bytes) -> None:
        """An application Describe. Raises ``WireError`` and keeps the old one when it does not parse."""
        device = self.require(device_id)
        self._may_be_undone(device_id)
        device.application = ApplicationDescribe.from_json(payload)
        self._store.execute("UPDATE devices SET application=? WHERE id=?", payload, device_id)

    def saw_vitals(self, device_id: str, payload: bytes) -> None:
        """A metrics Describe, kept as it came."""
        self._set(self.require(device_id), vitals=payload, vitals_at=self._store.now())

    def subscribe(self, device_id: str, wanted: Subscription) -> None:
        """A device's wish for events; a repeated one changes nothing but its flags. Raises ``Refused``."""
        device = self.require(device_id)
        key = (wanted.prefix, wanted.device_filter)
        others = [known for known in device.subscriptions if (known.prefix, known.device_filter) != key]
        if len(others) >= MAX_SUBSCRIPTIONS:
            raise Refused(
                f"subscription to {wanted.prefix!r}: the device has too many",
                expected=f"at most {MAX_SUBSCRIPTIONS}",
            )
        self._may_be_undone(device_id)
        self._store.execute(
            "INSERT OR REPLACE INTO device_subscriptions VALUES (?, ?, ?, ?)",
            device_id,
            wanted.prefix,
            wanted.device_filter or "",
            json.dumps(sorted(wanted.flags)),
        )
        device.subscriptions = (*others, wanted)

    def _set(self, device: Device, **values: str | int | float | bytes | None) -> None:
        """Change columns in the store and the same attributes of ``device``."""
        self._may_be_undone(device.id)
        columns = ", ".join(f"{column}=?" for column in values)
        self._store.execute(f"UPDATE devices SET {columns} WHERE id=?", *values.values(), device.id)
        for attribute, value in values.items():
            setattr(device, attribute, value)

    def _may_be_undone(self, device_id: str) -> None:
        """Should the transaction under way be undone, the device is in memory what it is in the store."""
        device = self._devices.get(device_id)
        before = None if device is None else replace(device, keys=dict(device.keys))
        self._store.on_rollback(partial(self._restore, device_id, before))

    def _restore(self, device_id: str, before: Device | None) -> None:
        if before is None:
            self._devices.pop(device_id, None)
        else:
            device = self._devices[device_id]
            for attribute in fields(Device):
                setattr(device, attribute.name, getattr(before, attribute.name))
        self._by_key = {key: one.id for one in self._devices.values() for key in one.keys.values()}


def transport_of_key(public_key: bytes) -> Transport:
    """Which transport a public key is for. Raises ``WireError`` when it is no key."""
    load_public(public_key)
    return Transport.DTLS if len(public_key) == EC_PUBLIC_SIZE else Transport.TCP


def pem_to_spki(pem: str) -> bytes:
    """SPKI DER of a PEM public key as command-line tools send it. Raises ``Refused``."""
    # Imported here: only provisioning over HTTP meets PEM, and everything else stays free of it.
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        transport_of_key(spki)
    except (ValueError, TypeError, WireError) as error:
        raise Refused("not a public key", expected="PEM, RSA or P-256", found=str(error)) from error
    return spki
