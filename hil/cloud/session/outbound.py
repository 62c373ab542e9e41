"""What the cloud asks of a device: events, functions, variables, signal, ping (protocol fact sheet 3.4 to 3.7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from hil.cloud.session.channel import Exchange
from hil.cloud.session.meter import Action, Bill, Charge
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.devices import Device
from hil.cloud.state.events import CloudEvent
from hil.cloud.state.happenings import Delivered, Value
from hil.cloud.state.names import subscription_matches
from hil.cloud.state.payload import is_structured, is_text, readable
from hil.device.platforms import by_name, event_data_limit
from hil.device.releases import version_tuple
from hil.errors import AccountPaused, DeviceOffline, DeviceTimeout, NotFound, Refused
from hil.printable import printable
from hil.wire.coap.message import Code, ContentFormat, Message, Type, code_text, encode, ping
from hil.wire.messages import (
    Subscription,
    decode_function_result,
    decode_variable,
    event,
    function_call,
    signal,
    variable_request,
)
from hil.wire.messages.description import ApplicationDescribe

OLDEST_OS = "1.5.0"  # whose limits a device gets before its version is known
FIRST_TYPED_EVENTS = "6.2.0"
_WITHOUT_GEN2 = (4, 0, 0)
_BLOCK = 16  # bytes, of the cipher on TCP
_TCP_OVERHEAD = 18  # what a device's buffer holds besides padded plaintext


def _rules(session: DeviceSession) -> str:
    return (session.device.os_rules if session.device else None) or OLDEST_OS


def data_limit(session: DeviceSession) -> int:
    """Largest event data and function argument in bytes that the device takes."""
    platform, rules = session.platform, _rules(session)
    # A board that the table does not know is a newer one; an old board with a release it never had is Linux.
    if platform is None or version_tuple(rules) >= _WITHOUT_GEN2:
        platform = by_name("argon")
    return event_data_limit(platform, rules)


def message_limit(session: DeviceSession) -> int:
    """Largest CoAP message in bytes that fits the device's buffer (protocol fact sheet 1.3, 6).

    A device that gets a longer one over TCP drops the connection.
    """
    hello = session.device.hello if session.device else None
    limit = (hello.max_message if hello else None) or _buffer(session)
    if session.channel.reliable:
        # What is on the wire is padded to whole blocks, by one byte at least.
        return (limit - _TCP_OVERHEAD) // _BLOCK * _BLOCK - 1
    return limit


def _buffer(session: DeviceSession) -> int:
    """Bytes of the buffer of a device whose Hello does not say."""
    if session.platform is not None and session.platform.generation == 1:
        return 640
    return 768 if version_tuple(_rules(session)) < (0, 8, 0) else 800


def _require_room(session: DeviceSession, message: Message, what: str) -> None:
    """Raise ``Refused`` for a message that does not fit the device's buffer."""
    size, limit = len(encode(message)), message_limit(session)
    if size > limit:
        raise Refused(
            f"{what} is too long for the device", expected=f"at most {limit} bytes", found=f"{size} bytes"
        )


# Events


def wants_event(device: Device, published: CloudEvent) -> bool:
    """Whether one of the device's subscriptions is for this event; ownership is the caller's business."""
    return any(_matches(wanted, published) for wanted in device.subscriptions)


def _matches(wanted: Subscription, published: CloudEvent) -> bool:
    if wanted.device_filter is not None and wanted.device_filter != published.device_id:
        return False
    if not subscription_matches(wanted.prefix, published.name):
        return False
    if is_structured(published.content_format):
        return "c" in wanted.flags
    if is_text(published.content_format):
        return "c" not in wanted.flags
    return "b" in wanted.flags


def deliver(session: DeviceSession, published: CloudEvent) -> None:
    """Bring an event to the session's device, which must be online; every attempt is counted."""
    content_format = published.content_format
    if is_structured(content_format):
        # Structured data has another number on its way to a device than on its way from one.
        content_format = ContentFormat.CBOR
    elif version_tuple(_rules(session)) < version_tuple(FIRST_TYPED_EVENTS):
        # Older devices look for the data right behind name and Max-Age: another option hides it from them.
        content_format = None
    send_event(session, published.name, published.raw, ttl=published.ttl, content_format=content_format)


def send_event(
    session: DeviceSession, name: str, data: bytes = b"", *, ttl: int = 60, content_format: int | None = None
) -> None:
    """Send one event to the session's device, confirmed where the transport needs it."""
    limit = data_limit(session)
    if len(data) > limit:
        session.log(f"event {name} not delivered: {len(data)} bytes, the device takes {limit}")
        return
    charge = _charge(session, Action.DELIVERY, f"deliver {name}", event_name=name, size=len(data))
    if not session.services.meters.allowed(charge):
        session.log(f"event {name} not delivered: the account is paused")
        return
    confirmable = not session.channel.reliable
    mid = session.channel.next_mid()
    message = event(mid, name, data, confirmable=confirmable, ttl=ttl, content_format=content_format)
    try:
        _require_room(session, message, f"event {name}")
    except Refused as error:
        session.log(f"event not delivered: {error.what}, {error.found}")
        return
    text = readable(data, content_format)

    def count(attempt: int) -> None:
        bill = Bill()
        _counter(session, replace(charge, bill=bill))(attempt)
        session.tell(Delivered(name, text, len(data), attempt), bill.settle())

    if confirmable:
        session.channel.request(message, count)
    else:
        count(1)
        session.channel.send(message)


# Functions and variables


async def call(session: DeviceSession, name: str, argument: bytes, timeout: float, bill: Bill) -> int:
    """Call a function and return its result; what it costs is put on ``bill``.

    Raises ``NotFound`` for a function the device has not described, ``Refused`` for an argument it cannot
    take or during an update, ``DeviceTimeout``, ``DeviceOffline``.
    """
    application = await application_of(session)
    if name not in application.functions:
        raise NotFound(
            f"Function {name} not found",
            expected=", ".join(map(printable, application.functions)) or "no function at all",
            found=name,
        )
    if len(argument) > data_limit(session):
        raise Refused(
            f"argument of {name} too long",
            expected=f"at most {data_limit(session)} bytes",
            found=str(len(argument)),
        )
    charge = replace(_charge(session, Action.FUNCTION, f"call {name}"), bill=bill)
    answer = await _ask(
        session,
        lambda mid, token: function_call(mid, token, name, argument),
        charge,
        timeout,
        f"function {name}",
    )
    if answer.code != Code.CHANGED:
        raise Refused(f"the device refused the call of {name}", found=code_text(answer.code))
    return decode_function_result(answer)


async def read(session: DeviceSession, name: str, timeout: float, bill: Bill) -> Value:
    """Read a variable; its type is the one the device has described. Raises as :func:`call`."""
    application = await application_of(session)
    if name not in application.variables:
        raise NotFound(
            "Variable not found",
            expected=", ".join(map(printable, application.variables)) or "no variable at all",
            found=name,
        )
    charge = replace(_charge(session, Action.VARIABLE, f"read {name}"), bill=bill)
    answer = await _ask(
        session, lambda mid, token: variable_request(mid, token, name), charge, timeout, f"variable {name}"
    )
    if answer.code == Code.NOT_FOUND:
        raise NotFound("Variable not found", found=name)
    if answer.code != Code.CONTENT:
        raise Refused(f"the device refused to read {name}", found=code_text(answer.code))
    return decode_variable(application.variables[name], answer.payload)


async def application_of(session: DeviceSession) -> ApplicationDescribe:
    """What the application offers; waits for a device that has just connected to say so."""
    patience = session.services.config.timing.describe
    try:
        async with session.services.clock.timeout(patience):
            await session.described.wait()
    except TimeoutError:
        raise DeviceTimeout(
            f"the device has not described its application within {patience:g} s",
            hint="its setup() may still be running",
        ) from None
    device = session.device
    if device is None or device.application is None or session.closed:
        raise DeviceOffline("the device connects anew just now")
    return device.application


async def _ask(
    session: DeviceSession,
    build: Callable[[int, bytes], Message],
    charge: Charge,
    timeout: float,
    what: str,
) -> Message:
    """One billable request and its answer; one at a time per device.

    ``timeout`` seconds in all: a second request to a device that has vanished does not wait for the first one's end.
    """
    if not session.services.meters.allowed(charge):
        raise AccountPaused
    deadline = session.services.clock.monotonic() + timeout
    async with _turn(session, deadline, f"{what} waited {timeout:g} s"):
        if session.updater is not None:
            raise Refused(f"{what}: the device is being updated", hint="ask again when the update is over")
        if not session.online:
            raise DeviceOffline("the device is offline")
        message = build(session.channel.next_mid(), session.channel.next_token())
        _require_room(session, message, what)
        exchange = session.channel.request(message, _counter(session, charge))
        try:
            return await answer_to(session, exchange, timeout, deadline)
        except DeviceTimeout as error:
            session.log(f"{what}: {error.what}")
            raise


@asynccontextmanager
async def _turn(session: DeviceSession, deadline: float, waited: str) -> AsyncIterator[None]:
    """Have the device for a ``with`` block that begins before ``deadline``, on the clock. Raises ``DeviceTimeout``."""
    try:
        async with session.services.clock.timeout_at(deadline):
            await session.turn.acquire()
    except TimeoutError:
        raise DeviceTimeout(f"Timed out: {waited} for the device's answer to another request") from None
    try:
        yield
    finally:
        session.turn.release()


async def answer_to(
    session: DeviceSession, exchange: Exchange, timeout: float, deadline: float | None = None
) -> Message:
    """The answer to ``exchange``. Raises ``DeviceTimeout``, ``Refused`` when the device resets it.

    ``deadline`` on the clock, when the ``timeout`` seconds have begun before.
    """
    clock = session.services.clock
    try:
        async with clock.timeout_at(clock.monotonic() + timeout if deadline is None else deadline):
            answer = await asyncio.shield(exchange.answer)
    except TimeoutError:
        state = "took the request and did not answer" if exchange.acknowledged else "did not acknowledge"
        raise DeviceTimeout(f"Timed out: the device {state} within {timeout:g} s") from None
    finally:
        session.channel.forget(exchange)
    if answer.type is Type.RST:
        raise Refused("the device reset the request")
    return answer


# Signal and ping


async def set_signal(session: DeviceSession, on: bool, timeout: float) -> None:
    """Start or stop the rainbow on the device's LED."""
    channel = session.channel
    exchange = channel.request(signal(channel.next_mid(), channel.next_token(), on))
    answer = await answer_to(session, exchange, timeout)
    if answer.code != Code.CHANGED:
        raise Refused("the device refused the signal", found=code_text(answer.code))


async def ping_device(session: DeviceSession, timeout: float) -> bool:
    """Whether the device answers a ping within ``timeout`` seconds."""
    exchange = session.channel.request(ping(session.channel.next_mid()))
    try:
        await answer_to(session, exchange, timeout)
    except (DeviceTimeout, DeviceOffline):
        return False
    return True


def _charge(
    session: DeviceSession, action: Action, cause: str, *, event_name: str | None = None, size: int = 0
) -> Charge:
    device = session.device
    return Charge(
        action,
        device.id if device else None,
        device.owner if device else None,
        cause,
        event_name=event_name,
        size=size,
        system_version=device.system_version if device else None,
    )


def _counter(session: DeviceSession, charge: Charge) -> Callable[[int], None]:
    """Writes one row per attempt, with the number of the attempt in its cause."""

    def count(attempt: int) -> None:
        cause = charge.cause if attempt == 1 else f"{charge.cause}, attempt {attempt}"
        session.services.meters.record(replace(charge, cause=cause))

    return count
