"""Carrying a Describe: requests, replies and the device's own posts (protocol fact sheet 3.1, 3.3).

What is inside is the business of ``describe`` (system and application) and ``messages_vitals`` (metrics).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from hil.errors import WireError
from hil.wire.coap import message as coap
from hil.wire.coap.message import Block, Code, Message, Option, Type
from hil.wire.messages.path import named_request, one_byte_token, path_options


class DescribeFlag(IntFlag):
    """Parts of a Describe. Ask for one at a time: both at once is not safe from 3.3 on."""

    SYSTEM = 1
    APPLICATION = 2
    METRICS = 4


@dataclass(frozen=True, slots=True)
class DescribePost:
    """One Describe message of a device; a block of it when ``block1`` is there."""

    flags: DescribeFlag
    payload: bytes
    content_format: int | None
    block1: Block | None


def describe_request(mid: int, token: bytes, flags: int) -> Message:
    """The cloud's ``GET /d?flags``. Further blocks of a long answer: add a Block2 option."""
    options = (*path_options("d"), (Option.URI_QUERY, bytes((flags,))))
    return Message(Type.CON, Code.GET, mid, one_byte_token(token), options)


def parse_describe_request(message: Message) -> DescribeFlag:
    """What a ``GET /d`` asks for: system and application when it does not say. Raises ``WireError``."""
    named_request(message, Code.GET, "d")
    return _flags(message)


def describe_post(
    mid: int,
    token: bytes,
    flags: int,
    payload: bytes,
    content_format: int | None = None,
    block1: Block | None = None,
) -> Message:
    """The device's ``POST /d?flags``. ``token`` is empty up to 3.2 and 1 byte from 3.3 on."""
    options = path_options("d")
    if content_format is not None:
        options += ((Option.CONTENT_FORMAT, coap.encode_uint(content_format)),)
    options += ((Option.URI_QUERY, bytes((flags,))),)
    if block1 is not None:
        options += ((Option.BLOCK1, block1.encode()),)
    return Message(Type.CON, Code.POST, mid, token, options, payload)


def parse_describe_post(message: Message) -> DescribePost:
    """The content of a ``POST /d``. Raises ``WireError``."""
    named_request(message, Code.POST, "d")
    block1 = message.option(Option.BLOCK1)
    return DescribePost(
        flags=_flags(message),
        payload=message.payload,
        content_format=message.uint(Option.CONTENT_FORMAT),
        block1=None if block1 is None else Block.decode(block1),
    )


def describe_reply(
    mid: int, token: bytes, payload: bytes, *, confirmable: bool, content_format: int | None = None
) -> Message:
    """The device's separate 2.05 to a ``GET /d``."""
    options = () if content_format is None else ((Option.CONTENT_FORMAT, coap.encode_uint(content_format)),)
    return Message(Type.CON if confirmable else Type.NON, Code.CONTENT, mid, token, options, payload)


def _flags(message: Message) -> DescribeFlag:
    query = message.option(Option.URI_QUERY)
    if query is None:
        return DescribeFlag.SYSTEM | DescribeFlag.APPLICATION
    if len(query) != 1 or not 0 < query[0] < 8:
        raise WireError("Describe flags", expected="one byte, 1..7", found=query[:16].hex() or "nothing")
    return DescribeFlag(query[0])
