"""Puts handshake messages together from fragments that arrive in any order, some twice.

Facts: protocol fact sheet 2.4 (a board fragments for an MTU of 508 after the second timeout).
"""

from __future__ import annotations

from hil.wire.dtls.handshake_messages import Fragment, HandshakeMessage

MAX_MESSAGE = 1024  # bytes; real ones stay below 200, and each announced one reserves twice its size
AHEAD = 8  # messages buffered beyond the next one, a flight has five at most


class Partial:
    """A message of which pieces are there. The first piece says type, number and length."""

    def __init__(self, fragment: Fragment) -> None:
        self.type = fragment.type
        self.sequence = fragment.sequence
        self._body = bytearray(fragment.length)
        self._missing = bytearray(b"\x01" * fragment.length)

    def fits(self, fragment: Fragment) -> bool:
        """Whether ``fragment`` is a piece of this message."""
        return (fragment.type, fragment.sequence, fragment.length) == (
            self.type,
            self.sequence,
            len(self._body),
        )

    def add(self, fragment: Fragment) -> None:
        """Take a piece; one that does not fit is dropped."""
        if not self.fits(fragment):
            return
        end = fragment.offset + len(fragment.data)
        self._body[fragment.offset : end] = fragment.data
        self._missing[fragment.offset : end] = bytes(len(fragment.data))

    def body(self) -> bytes | None:
        """The whole body once all of it is there."""
        return None if any(self._missing) else bytes(self._body)


class Reassembler:
    """Gives handshake messages in order of their sequence numbers, from 0."""

    def __init__(self) -> None:
        self.next_sequence = 0
        self._partials: dict[int, Partial] = {}

    def add(self, fragment: Fragment) -> None:
        """Take a fragment; old, too distant and oversized ones are dropped."""
        ahead = fragment.sequence - self.next_sequence
        if not 0 <= ahead < AHEAD or fragment.length > MAX_MESSAGE:
            return
        partial = self._partials.get(fragment.sequence)
        if partial is None:
            partial = self._partials[fragment.sequence] = Partial(fragment)
        partial.add(fragment)

    def pop(self) -> HandshakeMessage | None:
        """The next message once it is complete."""
        partial = self._partials.get(self.next_sequence)
        body = None if partial is None else partial.body()
        if partial is None or body is None:
            return None
        del self._partials[self.next_sequence]
        message = HandshakeMessage(partial.type, self.next_sequence, body)
        self.next_sequence += 1
        return message
