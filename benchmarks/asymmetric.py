"""Counts asymmetric operations where they happen: calls into the cryptography library, seen by the profiler hook.

Nothing is patched and nothing assumed: each sign, verify, key agreement, key generation, RSA encryption and
decryption is a call of a built-in function of that library.
"""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Self

_OPERATIONS = frozenset(
    {
        "sign",
        "verify",
        "exchange",
        "encrypt",
        "decrypt",
        "recover_data_from_signature",
        "generate_private_key",
    }
)
_FAMILIES = frozenset({"ec", "rsa"})


class AsymmetricOperations:
    """``with AsymmetricOperations() as operations:`` counts what happens inside, by name, on this thread.

    Names are ``ec.sign``, ``rsa.decrypt`` and so on. AES and hashes do not count.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._before = sys.getprofile()

    @property
    def total(self) -> int:
        """Operations of all kinds."""
        return self.counts.total()

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items())) or "none"

    def _see(self, _frame: FrameType, event: str, function: object) -> None:
        name = getattr(function, "__name__", "")
        if event == "c_call" and name in _OPERATIONS:
            family = _family(function)
            if family in _FAMILIES:
                self.counts[f"{family}.{name}"] += 1


def _family(function: object) -> str:
    """``ec`` or ``rsa`` for what belongs to a key or to the module of that name."""
    owner = getattr(function, "__self__", None)
    module = getattr(function, "__module__", None) or type(owner).__module__
    return str(module).rpartition(".")[2]
