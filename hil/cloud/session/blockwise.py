"""Putting together what comes in blocks (protocol fact sheet 3.3, RFC 7959)."""

from __future__ import annotations

from hil.errors import WireError
from hil.wire.coap.message import Block

MAX_SIZE = 65536  # bytes; a Describe of 100 long functions and 100 long variables is below 16 KB


class BlockAssembly:
    """One payload under way, block by block in order; a block numbered 0 starts a new one."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._size = 0  # bytes so far

    def add(self, block: Block, payload: bytes) -> bytes | None:
        """Take a block: the whole payload when it was the last one, else ``None``. Raises ``WireError``."""
        if block.number == 0:
            self._blocks, self._size = [], 0
        if block.number + 1 == len(self._blocks) and payload == self._blocks[-1]:
            return None  # sent again under a new message id
        if block.number != len(self._blocks):
            found, self._blocks, self._size = len(self._blocks), [], 0
            raise WireError("block out of order", expected=str(found), found=str(block.number))
        if block.more and len(payload) != block.size:
            raise WireError("block of the wrong size", expected=str(block.size), found=str(len(payload)))
        if self._size + len(payload) > MAX_SIZE:
            raise WireError("payload in blocks is too large", expected=f"at most {MAX_SIZE} bytes")
        self._blocks.append(payload)
        self._size += len(payload)
        if block.more:
            return None
        whole, self._blocks = b"".join(self._blocks), []
        return whole
