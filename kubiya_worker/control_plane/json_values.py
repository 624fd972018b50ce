"""JSON that a control plane's database can store: without NUL, half surrogate pairs, NaN or infinity.

The published server answers such a value with 500, or stores nothing of the whole request (docs/protocol.md#a11).
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")
# In JSON of ASCII: every value that may be unfit, and some that are not, such as an emoji's pair of surrogates.
_SUSPECT: Final = re.compile(rb"\\u(0000|[dD][89a-fA-F])|NaN|Infinity")


def encoded(body: Any) -> bytes:
    """Return the body as JSON that can be stored, in ASCII."""
    encoded = _quickly(body)
    if encoded is not None:
        return encoded
    data = _dumped(body)
    return _dumped(storable(body)) if _SUSPECT.search(data) else data


def decoded(data: bytes) -> Any:
    """Return the JSON of an answer in the same form; None for an empty one. Raise ValueError or RecursionError.

    Nothing of an answer may break what it comes to later: a log, an event, the history.
    """
    if not data.strip():
        return None
    value = json.loads(data)
    return storable(value) if _SUSPECT.search(data) else value


def _quickly(body: Any) -> bytes | None:
    """Return what `encoded` does, made in a third of the time by pydantic's encoder; None for what it writes otherwise.

    A worker has that package once the code of steps is loaded; its start does not wait for it.
    """
    to_json = getattr(sys.modules.get("pydantic_core"), "to_json", None)  # another thread may be loading the package
    if to_json is None:
        return None
    try:
        encoded: bytes = to_json(body, fallback=str, inf_nan_mode="null")
    except ValueError:  # half a surrogate pair, or a value that is nested too deep for it
        return None
    return encoded if encoded.isascii() and b"\\u0000" not in encoded else None


def _dumped(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":"), default=str).encode()


def storable(value: Any) -> Any:
    """Return the value with each character that cannot be stored replaced, and null for NaN and infinity."""
    if isinstance(value, str):
        return _UNFIT.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, int | float) else storable(str(value))
