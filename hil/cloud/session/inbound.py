"""What the cloud does with each message of a device. Facts: protocol fact sheet 3 and 7.

Handlers run inside a transaction: what they change is committed before their reply goes out. They never
raise for what is in a message but ``WireError`` and ``CloudError``, which become an error acknowledgement.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial

from hil.cloud.session.describing import ask_for_describe, take_describe
from hil.cloud.session.farewell import in_words
from hil.cloud.session.identity import establish
from hil.cloud.session.meter import Action, Charge
from hil.cloud.session.outbound import send_event
from hil.cloud.session.session import UPDATES_EVENT, DeviceSession, Handlers, Outcome, refusal
from hil.cloud.state.devices import Device
from hil.cloud.state.events import Origin
from hil.cloud.state.happenings import Published
from hil.cloud.state.names import checked_name, device_request
from hil.cloud.state.payload import readable
from hil.cloud.state.presence import ContactKind
from hil.errors import CloudError, Refused, WireError
from hil.wire.coap.message import Code, Message, Type, empty_ack
from hil.wire.messages import (
    LAST_SECOND,
    Kind,
    parse_describe_post,
    parse_event,
    parse_goodbye,
    parse_subscription,
    server_hello,
    time_reply,
)
from hil.wire.messages import Event as WireEvent
from hil.wire.messages.hello import Hello, HelloFlag

CLAIM_CODE_EVENT = "spark/device/claim/code"
CLAIMED_EVENT = "spark/device/claim/success"
SAFE_MODE_EVENT = "spark/device/safemode"
MAX_BINARY_EVENT = "spark/hardware/max_binary"
GCC_PLATFORM = (
    3  # what Device OS built for Linux says over TCP, whatever it was told (protocol fact sheet 10)
)
MAX_DIGITS = 10  # of a size in bytes
RANDOM_LENGTH = 40  # characters of the answer to a request for a random seed


def acknowledged(message: Message) -> Message | None:
    """The empty ACK for a confirmable message."""
    return empty_ack(message.mid) if message.type is Type.CON else None


def on_hello(session: DeviceSession, message: Message) -> Outcome:
    """A new session, or a resumed one of a device that has changed. Its acknowledgement comes before anything."""
    hello = Hello.parse(message)
    said = hello.device_id.hex() if hello.device_id else session.link.device_id
    try:
        link = session.link
        device = establish(session.services, said, link.public_key, link.transport, hello)
    except Refused as error:
        session.log(f"{session.link.host}: Hello refused: {error.what}")
        return Outcome(None, (partial(session.close, error.what, forget=True, notify=True),))
    session.adopt(device)
    session.described.clear()
    platform_id = _platform_of(session, device, hello)
    session.services.registry.saw_hello(device.id, hello, session.link.host, platform_id)
    session.log(f"Hello: {_in_words(hello)}")
    return Outcome(acknowledged(message), (partial(_greet, session, hello),))


def _platform_of(session: DeviceSession, device: Device, hello: Hello) -> int:
    """What the device is: what its Hello says, unless that is Device OS built for Linux, which may play any board."""
    if hello.platform_id == device.platform_id:
        return device.platform_id
    taken = device.platform_id if hello.platform_id == GCC_PLATFORM else hello.platform_id
    session.log(
        f"registered as platform {device.platform_id}, its Hello says {hello.platform_id}: taken as {taken}"
    )
    return taken


def _greet(session: DeviceSession, hello: Hello) -> None:
    # A TCP device waits 4 s for the cloud's Hello; a UDP device takes it as leave to clear its OTA flag.
    session.channel.send(server_hello(session.channel.next_mid()))
    session.arrive(ContactKind.HELLO)
    if HelloFlag.DEVICE_DESCRIBES not in hello.flags:
        ask_for_describe(session)


def on_describe(session: DeviceSession, message: Message) -> Outcome:
    """A Describe that the device posts by itself, whole or in blocks."""
    post = parse_describe_post(message)
    payload: bytes | None = post.payload
    if post.block1 is not None:
        payload = session.describe_blocks.add(post.block1, post.payload)
    if payload is not None:
        take_describe(session, post.flags, payload, post.content_format)
    return Outcome(acknowledged(message))


def on_event(session: DeviceSession, message: Message) -> Outcome:
    """An event: counted, stored, acknowledged, then handed out."""
    device = _device_of(session)
    event = parse_event(message)
    checked_name(event.name)
    charge = _charge(device, event, Action.PUBLISH)
    if not session.services.meters.allowed(charge):
        session.log(f"event {event.name} dropped: the account is paused")
        return Outcome(acknowledged(message))
    if event.name == CLAIM_CODE_EVENT:
        return Outcome(acknowledged(message), (partial(_redeem, session, device, event),))
    stored = session.services.bus.record(
        event.name,
        event.data,
        device_id=device.id,
        owner=device.owner,
        private=event.private,
        ttl=event.ttl,
        content_format=event.content_format,
        origin=Origin(session.link.name, message.mid) if message.type is Type.CON else None,
    )
    session.services.meters.record(charge)
    session.log(f"event {event.name} ({len(event.data)} bytes)", told=True)
    told = Published(event.name, stored.data, len(event.data))
    actions: list[Callable[[], None]] = [partial(session.tell, told, charge.bill.settle())]
    actions.append(partial(session.hub.distribute, stored))
    actions += _system_reactions(session, device, event)
    return Outcome(acknowledged(message), tuple(actions))


def on_repeated_event(session: DeviceSession, message: Message) -> Outcome:
    """An event whose acknowledgement was lost: the cloud got it twice, so it counts twice."""
    event = parse_event(message)
    checked_name(event.name)
    charge = _charge(_device_of(session), event, Action.PUBLISH_AGAIN)
    session.services.meters.record(charge)
    data = readable(event.data, event.content_format)
    told = Published(event.name, data, len(event.data), repeated=True)
    return Outcome(None, (partial(session.tell, told, charge.bill.settle()),))


def on_subscribe(session: DeviceSession, message: Message) -> Outcome:
    """A device's wish for events."""
    wanted = parse_subscription(message)
    if wanted.prefix:
        checked_name(wanted.prefix)
    session.services.registry.subscribe(_device_of(session).id, wanted)
    session.log(f"subscribes to {wanted.prefix!r}")
    return Outcome(acknowledged(message))


def on_time(session: DeviceSession, message: Message) -> Outcome:
    """The time, inside the acknowledgement: the only 2.05 a device may ever get."""
    session.log("asks for the time")
    now = int(session.services.clock.time())
    if now > LAST_SECOND:
        raise CloudError("the cloud's clock is past 2106-02-07, where device time ends")
    return Outcome(time_reply(message, now))


def on_ping(_session: DeviceSession, message: Message) -> Outcome:
    """A sign of life wants one back."""
    return Outcome(acknowledged(message))


def on_goodbye(session: DeviceSession, message: Message) -> Outcome:
    """The device leaves; its DTLS session stays valid."""
    try:
        why = in_words(parse_goodbye(message))
    except WireError:
        why = "goodbye"
    return Outcome(acknowledged(message), (partial(session.go_offline, why),))


def on_other(session: DeviceSession, message: Message) -> Outcome:
    """A request that this cloud does not serve (Ledger, for one). Never a RST: it would end the session."""
    session.log(f"not served: code {message.code:#04x} on /{'/'.join(message.path)}")
    return Outcome(refusal(message, Code.NOT_FOUND))


HANDLERS = Handlers(
    by_kind={
        Kind.HELLO: on_hello,
        Kind.DESCRIBE: on_describe,
        Kind.EVENT: on_event,
        Kind.SUBSCRIBE: on_subscribe,
        Kind.TIME: on_time,
        Kind.PING: on_ping,
        Kind.GOODBYE: on_goodbye,
    },
    other=on_other,
    repeated_event=on_repeated_event,
)


def _device_of(session: DeviceSession) -> Device:
    assert session.device is not None, "only a Hello is handled before the device is known"
    return session.device


def _charge(device: Device, event: WireEvent, action: Action) -> Charge:
    again = " again: its acknowledgement was lost" if action is Action.PUBLISH_AGAIN else ""
    return Charge(
        action,
        device.id,
        device.owner,
        f"publish {event.name}{again}",
        event_name=event.name,
        size=len(event.data),
        system_version=device.system_version,
    )


def _system_reactions(session: DeviceSession, device: Device, event: WireEvent) -> list[Callable[[], None]]:
    """What the cloud itself does about an event of the system."""
    name = event.name
    if name == UPDATES_EVENT:
        # Sent once at every connect: a second one in one contact is a resume that nothing else gave away.
        if session.updates_event_seen:
            session.arrive(ContactKind.RESUME)
        session.updates_event_seen = True
    elif name == MAX_BINARY_EVENT and event.data.isdigit() and len(event.data) < MAX_DIGITS:
        session.max_binary = int(event.data)
    elif name == SAFE_MODE_EVENT:
        return [partial(_report_safe_mode, session, device)]
    else:
        what = device_request(name)
        if what is not None:
            return [partial(_answer_request, session, device, name, what)]
    return []


def _answer_request(session: DeviceSession, device: Device, name: str, what: str) -> None:
    """The device asked for something about itself: an event of the same name, to it alone."""
    answer = {
        "name": device.name,
        "ip": session.link.host,
        "random": secrets.token_hex(RANDOM_LENGTH // 2),
    }[what]
    if not any(name.startswith(wanted.prefix) for wanted in device.subscriptions):
        return
    send_event(session, name, answer.encode())


def _redeem(session: DeviceSession, device: Device, event: WireEvent) -> None:
    owner = session.services.registry.redeem(event.data.decode("utf-8", "replace"), device.id)
    if owner is None:
        session.log("claim code is unknown or too old")
        return
    session.log(f"claimed for {owner}")
    send_event(session, CLAIMED_EVENT)


def _report_safe_mode(session: DeviceSession, device: Device) -> None:
    text = device.system.to_json().decode() if device.system else ""
    session.services.bus.emit("spark/status/safe-mode", text, device_id=device.id, owner=device.owner)


def _in_words(hello: Hello) -> str:
    version = hello.system_version or "before 3.0"
    return (
        f"platform {hello.platform_id}, product {hello.product_id} v{hello.product_version}, system {version}"
    )
