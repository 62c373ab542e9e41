"""JSON from a board: one object, of a depth that a board has use for.

What comes from outside may be anything; a few thousand brackets are enough to end a parser that trusts it.
"""

from __future__ import annotations

import json
from typing import Any

from hil.errors import WireError

DEEPEST = 32


def json_object(data: str | bytes, whose: str) -> dict[str, Any]:
    """The object in ``data``, which is ``whose`` (``"the probe's reply"``). Raises ``WireError``."""
    try:
        text = data if isinstance(data, str) else data.decode()
        if _depth(text) > DEEPEST:
            raise WireError(
                f"{whose} is JSON too deep to be real", expected=f"{DEEPEST} levels", found=repr(text[:80])
            )
        value = json.loads(text)
    except ValueError as error:  # also bytes that are not UTF-8, and numbers of thousands of digits
        raise WireError(f"{whose} is not JSON", found=repr(data[:80])) from error
    if not isinstance(value, dict):
        raise WireError(f"{whose} is not an object", found=repr(data[:80]))
    return value


def _depth(text: str) -> int:
    """How deep arrays and objects lie in each other; brackets in strings do not count."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            in_string = escaped or char != '"'
            escaped = not escaped and char == "\\"
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest
