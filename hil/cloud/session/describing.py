"""Asking a device for its Describe, and taking what it says (protocol fact sheet 3.3).

System and application are always asked for apart: both at once is not valid JSON from 3.3 to 5.4, and breaks
the connection of 6.2 (section 10).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import TypeVar

from hil.cloud.session.blockwise import BlockAssembly
from hil.cloud.session.outbound import answer_to
from hil.cloud.session.session import DeviceSession
from hil.cloud.state.devices import application_hash
from hil.cloud.state.happenings import Measured
from hil.errors import CloudError, DeviceTimeout, Refused, WireError
from hil.wire.coap.message import Block, Code, Message, Option, code_text
from hil.wire.messages import DescribeFlag, VitalId, decode_vitals, describe_request

Told = TypeVar("Told")
APP_HASH_EVENT = "spark/device/app-hash"
VITALS_EVENT = "spark/device/diagnostics/update"
PATIENCE = 6  # times the wait for one block, for all blocks of one part
_PARTS = (DescribeFlag.SYSTEM, DescribeFlag.APPLICATION)


def take_describe(
    session: DeviceSession, flags: DescribeFlag, payload: bytes, content_format: int | None
) -> None:
    """Store what a device says about itself. Raises ``WireError``."""
    assert session.device is not None, "a Describe comes after the Hello"
    registry, device_id = session.services.registry, session.device.id
    if DescribeFlag.METRICS in flags:
        _take_vitals(session, payload)
        return
    if DescribeFlag.SYSTEM in flags:
        before = application_hash(session.device.system)
        registry.saw_system(device_id, payload, content_format)
        session.log("described its modules")
        after = application_hash(session.device.system)
        if before is not None and after is not None and before != after:
            _announce(session, APP_HASH_EVENT, after.hex().upper())
    if DescribeFlag.APPLICATION in flags:
        # The whole of an old combined Describe is one object: each half finds its own keys in it.
        registry.saw_application(device_id, payload)
        session.described.set()
        session.log("described its application")
    session.services.presence.contacts.touch()


def _take_vitals(session: DeviceSession, payload: bytes) -> None:
    assert session.device is not None, "vitals come after the Hello"
    vitals = decode_vitals(payload)
    session.services.registry.saw_vitals(session.device.id, payload)
    names = {int(vital): vital.name.lower() for vital in VitalId}
    values = {names.get(vital.id, str(vital.id)): None if vital.failed else vital.value for vital in vitals}
    session.log(f"told {len(values)} vitals", told=True)
    _announce(session, VITALS_EVENT, json.dumps({"device": values}))
    _after_this(session, session.tell, Measured(values))


def _announce(session: DeviceSession, name: str, data: str) -> None:
    """An event of the cloud about the device, stored now and handed out later."""
    assert session.device is not None, "a Describe comes after the Hello"
    device = session.device
    stored = session.services.bus.record(name, data.encode(), device_id=device.id, owner=device.owner)
    _after_this(session, session.hub.distribute, stored)


def _after_this(session: DeviceSession, action: Callable[[Told], None], what: Told) -> None:
    """Do it when the transaction under way is over: nothing is told that is not stored."""
    later = asyncio.get_running_loop().call_soon
    session.services.store.after_commit(lambda: later(action, what))


def ask_for_describe(session: DeviceSession) -> None:
    """Ask a device that does not describe itself, in the background; no second time while it is being asked."""
    if session.asking is not None and not session.asking.done():
        return

    async def ask() -> None:
        try:
            await describe(session, session.services.config.timing.describe)
        except (CloudError, WireError) as error:
            session.log(f"no Describe: {error.what}")

    session.asking = asyncio.get_running_loop().create_task(ask())
    session.spawn(session.asking)


async def describe(session: DeviceSession, timeout: float) -> None:
    """Ask for both parts afresh and store them. Raises as other requests do."""
    for part in _PARTS:
        payload, content_format = await request_part(session, part, timeout)
        with session.services.store.transaction():
            take_describe(session, part, payload, content_format)


async def request_part(
    session: DeviceSession, part: DescribeFlag, timeout: float
) -> tuple[bytes, int | None]:
    """One part of a Describe with its Content-Format, put together from blocks when it is long.

    ``timeout`` seconds are for each block. A device that never comes to an end is not listened to for longer than
    ``BlockAssembly`` takes, nor for more than ``PATIENCE`` times ``timeout``. Raises ``WireError``, ``DeviceTimeout``.
    """
    try:
        async with session.services.clock.timeout(PATIENCE * timeout):
            return await _request_blocks(session, part, timeout)
    except TimeoutError:
        raise DeviceTimeout(f"the Describe does not come to an end within {PATIENCE * timeout:g} s") from None


async def _request_blocks(
    session: DeviceSession, part: DescribeFlag, timeout: float
) -> tuple[bytes, int | None]:
    assembly = BlockAssembly()
    asked: Block | None = None
    while True:
        answer = await _request_block(session, part, asked, timeout)
        value = answer.option(Option.BLOCK2)
        block = Block(0, False, 0) if value is None else Block.decode(value)
        if asked is not None and (value is None or (block.number, block.szx) != (asked.number, asked.szx)):
            raise WireError("Describe goes on with another block", expected=str(asked), found=str(block))
        whole = assembly.add(block, answer.payload)
        if whole is not None:
            return whole, answer.uint(Option.CONTENT_FORMAT)
        asked = Block(block.number + 1, False, block.szx)


async def _request_block(
    session: DeviceSession, part: DescribeFlag, block: Block | None, timeout: float
) -> Message:
    channel = session.channel
    message = describe_request(channel.next_mid(), channel.next_token(), part)
    if block is not None:
        options = (*message.options, (int(Option.BLOCK2), block.encode()))
        message = dataclasses.replace(message, options=options)
    answer = await answer_to(session, channel.request(message), timeout)
    if answer.code != Code.CONTENT:
        raise Refused("the device refused to describe itself", found=code_text(answer.code))
    return answer
