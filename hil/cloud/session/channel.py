"""CoAP exchanges with one device: message ids, 1-byte tokens, attempts, answers.

Facts: protocol fact sheet 1.4, 2.8, 3 and 10; attempts and what follows them, cloud API fact sheet 4.1.
On TCP nothing is sent twice, and the ids of the device's acknowledgements mean nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from hil.clock import LoopClock, SystemClock, Timer
from hil.cloud.config import Timing
from hil.cloud.session.link import Link
from hil.device.platforms import Transport
from hil.errors import CloudError, DeviceOffline, DeviceTimeout
from hil.wire.coap.message import Message, Type, encode
from hil.wire.coap.reliability import Retransmitter

OnAttempt = Callable[[int], None]


@dataclass(slots=True)
class Exchange:
    """A message to the device and what becomes of it.

    ``answer`` is the response that carries the token, or for a message without token the acknowledgement
    itself. It fails with ``DeviceTimeout`` when nothing was acknowledged, ``DeviceOffline`` when the session
    ended.
    """

    mid: int
    token: bytes
    answer: asyncio.Future[Message]
    on_attempt: OnAttempt
    attempts: int = 0
    acknowledged: bool = False

    def attempt(self) -> None:
        """Count one more send."""
        self.attempts += 1
        self.on_attempt(self.attempts)

    def settle(self, message: Message) -> None:
        """The answer is here; a second one changes nothing."""
        if not self.answer.done():
            self.answer.set_result(message)

    def fail(self, error: Exception) -> None:
        """There will be no answer."""
        if not self.answer.done():
            self.answer.set_exception(error)
            # Whoever sent the message may not care: an exception nobody fetches is no fault here.
            self.answer.exception()


@dataclass(slots=True)
class Channel:
    """The exchanges of one session. ``on_silence`` is called when the device acknowledges nothing any more."""

    link: Link
    timing: Timing
    on_silence: Callable[[], None]
    clock: LoopClock = field(default_factory=lambda: SystemClock().on_loop())
    mid: int = field(default_factory=lambda: secrets.randbelow(0x10000))
    _token: int = field(default_factory=lambda: secrets.randbelow(0x100))
    _by_mid: dict[int, Exchange] = field(default_factory=dict)
    _by_token: dict[bytes, Exchange] = field(default_factory=dict)
    _timer: Timer | None = None
    _resend: Retransmitter = field(init=False)
    closed: bool = False

    def __post_init__(self) -> None:
        self._resend = Retransmitter(
            self.timing.ack_timeout, self.timing.ack_random_factor, self.timing.max_attempts - 1
        )

    @property
    def reliable(self) -> bool:
        """Whether the transport itself delivers or breaks."""
        return self.link.transport is Transport.TCP

    def next_mid(self) -> int:
        """A fresh message id."""
        self.mid = (self.mid + 1) & 0xFFFF
        return self.mid

    def next_token(self) -> bytes:
        """A fresh token: exactly 1 byte, and not one whose answer is still awaited."""
        for _ in range(0x100):
            self._token = (self._token + 1) & 0xFF
            token = bytes((self._token,))
            if token not in self._by_token:
                return token
        raise DeviceTimeout("256 requests wait for this device", hint="wait for answers")

    def send(self, message: Message) -> None:
        """Send a message whose answer, if any, somebody else looks out for.

        A CON message is still sent again until acknowledged.
        """
        if message.type is Type.CON and not self.reliable:
            self.request(message, answered=False)
        else:
            self.link.send(encode(message))

    def request(
        self,
        message: Message,
        on_attempt: OnAttempt = lambda _attempt: None,
        *,
        answered: bool = True,
    ) -> Exchange:
        """Send ``message`` and follow it. ``on_attempt`` is told of every send, just before it, and may forbid it.

        ``answered``: a response with the message's token is awaited, not only its acknowledgement.
        """
        if self.closed:
            raise DeviceOffline("the device's session has ended")
        token = message.token if answered else b""
        exchange = Exchange(message.mid, token, asyncio.get_running_loop().create_future(), on_attempt)
        data = encode(message)
        exchange.attempt()
        self._by_mid[message.mid] = exchange
        if token:
            self._by_token[token] = exchange
        if not self.reliable and message.type is Type.CON:
            self._resend.track(message.mid, data, self.clock.monotonic())
            self._arm()
        self.link.send(data)
        return exchange

    def forget(self, exchange: Exchange) -> None:
        """Nobody waits for this answer any more; its token is free again. Attempts go on until acknowledged."""
        if self._by_token.get(exchange.token) is exchange:
            del self._by_token[exchange.token]
        if self.reliable:
            self._by_mid.pop(exchange.mid, None)

    def withdraw(self, exchange: Exchange) -> None:
        """What was asked is known: send it no more, and expect nothing of it."""
        self._resend.acknowledge(exchange.mid)
        if self._by_mid.get(exchange.mid) is exchange:
            del self._by_mid[exchange.mid]
        self.forget(exchange)

    def acknowledge(self, message: Message) -> bool:
        """Take an ACK or RST from the device. True when it settled or advanced an exchange."""
        self._resend.acknowledge(message.mid)
        exchange = self._by_mid.pop(message.mid, None)
        if exchange is None and self.reliable and not message.is_response:
            exchange = self._oldest_ping()
        if exchange is None:
            return self._answer(message)
        exchange.acknowledged = True
        if not exchange.token or message.type is Type.RST or message.is_response:
            self.forget(exchange)
            exchange.settle(message)
        return True

    def respond(self, message: Message) -> bool:
        """Take a separate response. False when nobody waits for its token (any more)."""
        return self._answer(message)

    def _answer(self, message: Message) -> bool:
        if not message.is_response:
            return False
        exchange = self._by_token.pop(message.token, None)
        if exchange is None:
            return False
        # An answer says more than an acknowledgement that was lost.
        self._resend.acknowledge(exchange.mid)
        self._by_mid.pop(exchange.mid, None)
        exchange.acknowledged = True
        exchange.settle(message)
        return True

    def _oldest_ping(self) -> Exchange | None:
        """On TCP the ids of acknowledgements are fresh ones; only a message without token needs a guess."""
        for mid, exchange in self._by_mid.items():
            if not exchange.token:
                return self._by_mid.pop(mid)
        return None

    def abandon(self, error: Exception) -> None:
        """Fail everything that waits, and send none of it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._resend.clear()
        waiting = {id(one): one for one in (*self._by_mid.values(), *self._by_token.values())}
        self._by_mid.clear()
        self._by_token.clear()
        for exchange in waiting.values():
            exchange.fail(error)

    def close(self, error: Exception) -> None:
        """Abandon everything; no request can be made any more."""
        self.closed = True
        self.abandon(error)

    def _counted(self, exchange: Exchange) -> bool:
        """Count another attempt. False when it cannot be counted: then the message is not sent, now or later."""
        try:
            exchange.attempt()
        except CloudError as error:
            self._resend.acknowledge(exchange.mid)
            self._by_mid.pop(exchange.mid, None)
            self.forget(exchange)
            exchange.fail(error)
            return False
        return True

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._resend.next_deadline()
        if deadline is not None:
            self._timer = self.clock.call_at(deadline, self._tick)

    def _tick(self) -> None:
        now = self.clock.monotonic()
        for data in self._resend.due(now):
            exchange = self._by_mid.get(int.from_bytes(data[2:4], "big"))
            if exchange is None or self._counted(exchange):
                self.link.send(data)
        failed = self._resend.failed(now)
        for mid in failed:
            exchange = self._by_mid.pop(mid, None)
            if exchange is not None:
                self.forget(exchange)
                exchange.fail(DeviceTimeout(f"the device acknowledged none of {exchange.attempts} attempts"))
        if failed:
            self.on_silence()
        if not self.closed:
            self._arm()
