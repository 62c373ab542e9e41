"""Bounds-checked reading of TLS structures: every shortfall is a ``WireError``."""

from __future__ import annotations

from hil.errors import WireError


class Reader:
    """Reads ``data`` front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        if size > self.left:
            raise WireError("bytes cut short", expected=f"{size} more", found=f"{self.left}")
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def uint(self, size: int) -> int:
        """A big-endian number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_size: int) -> bytes:
        """Bytes preceded by their length, which takes ``length_size`` bytes."""
        return self.take(self.uint(length_size))

    def finish(self) -> None:
        """Raise unless everything was read."""
        if self.left:
            raise WireError("bytes after the end of a structure", found=f"{self.left} more")


def vector(length_size: int, data: bytes) -> bytes:
    """``data`` preceded by its length."""
    return len(data).to_bytes(length_size, "big") + data
