"""Events and subscriptions (protocol fact sheet 3.4, 3.5)."""

from __future__ import annotations

from dataclasses import dataclass

from hil.errors import UsageError, WireError
from hil.wire.coap import message as coap
from hil.wire.coap.message import Code, Message, Option, Type
from hil.wire.messages.path import named_request, path_options, require_name

DEFAULT_TTL = 60
MAX_TTL = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was on the wire; ``ttl`` in seconds, ``content_format`` ``None`` for plain text."""

    name: str
    data: bytes
    private: bool
    ttl: int
    content_format: int | None
    confirmable: bool


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a device wants to hear: events whose name starts with ``prefix``.

    ``device_filter`` is the hex id of the only device wanted. ``flags`` are the query letters: ``u`` my
    devices (up to 6.1), ``b`` binary data allowed, ``c`` structured data wanted (from 6.2).
    """

    prefix: str
    device_filter: str | None
    flags: frozenset[str]


def event(
    mid: int,
    name: str,
    data: bytes = b"",
    *,
    confirmable: bool,
    private: bool = True,
    ttl: int = DEFAULT_TTL,
    content_format: int | None = None,
    old_max_age: bool = False,
) -> Message:
    """``POST /E/name`` (``/e/name`` when public), the same in both directions.

    ``ttl`` in seconds is sent only when it is not 60. ``old_max_age`` writes it in 3 bytes as devices before
    6.2 do. Raises ``UsageError`` for an empty name or a ttl outside 0..16777215.
    """
    if not name or not 0 <= ttl <= MAX_TTL:
        raise UsageError("event", expected=f"a name, ttl 0..{MAX_TTL}", found=f"name {name!r}, ttl {ttl}")
    options = path_options("E" if private else "e", name)
    if content_format is not None:
        options += ((Option.CONTENT_FORMAT, coap.encode_uint(content_format)),)
    if ttl != DEFAULT_TTL:
        value = ttl.to_bytes(3, "big") if old_max_age else coap.encode_uint_device(ttl)
        options += ((Option.MAX_AGE, value),)
    return Message(Type.CON if confirmable else Type.NON, Code.POST, mid, options=options, payload=data)


def parse_event(message: Message) -> Event:
    """The event in ``message``; a name in several Uri-Path options is joined with ``/``. Raises ``WireError``.

    CoAP's Max-Age has 32 bits, an event's ttl 24 (protocol fact sheet 6): a longer one lives as long as an event can.
    """
    resource, name = named_request(message, Code.POST, "Ee")
    ttl = message.uint(Option.MAX_AGE)
    return Event(
        name=require_name(name, "event"),
        data=message.payload,
        private=resource == "E",
        ttl=DEFAULT_TTL if ttl is None else min(ttl, MAX_TTL),
        content_format=message.uint(Option.CONTENT_FORMAT),
        confirmable=message.type is Type.CON,
    )


def subscribe(
    mid: int,
    prefix: str,
    *,
    query: bytes | None = b"u",
    device_filter: str | None = None,
    confirmable: bool = True,
) -> Message:
    """``GET /e/prefix`` from a device.

    ``query`` is ``b"u"`` up to 6.1 and ``b"b"``, ``b"c"`` or ``None`` from 6.2. A ``device_filter`` (24 hex
    digits) travels as payload and takes the place of the query.
    """
    options = path_options("e", prefix)
    if query is not None and device_filter is None:
        options += ((Option.URI_QUERY, query),)
    payload = (device_filter or "").encode()
    return Message(Type.CON if confirmable else Type.NON, Code.GET, mid, options=options, payload=payload)


def parse_subscription(message: Message) -> Subscription:
    """The subscription in ``message``; an empty prefix stands for every event. Raises ``WireError``."""
    _, prefix = named_request(message, Code.GET, "Ee")
    try:
        flags = frozenset(value.decode() for value in message.options_of(Option.URI_QUERY))
        device_filter = message.payload.decode().lower() or None
    except UnicodeDecodeError as error:
        raise WireError("subscription is not text", found=error.object.hex()) from error
    if device_filter is not None and (len(device_filter) != 24 or not set(device_filter) <= _HEX):
        raise WireError(
            "device filter of a subscription", expected="24 hex digits", found=repr(device_filter)
        )
    return Subscription(prefix, device_filter, flags)


_HEX = frozenset("0123456789abcdef")
