"""This module says which bodies are small enough for the event loop to read and write. Pure."""

from __future__ import annotations

from typing import Any, Final

LARGEST: Final = 65_536  # characters of texts in a body, bytes of an answer: longer ones would hold up the event loop


def is_small(value: Any) -> bool:
    """Return True when the texts in a body are short together."""
    return _remaining(value, LARGEST) >= 0


def _remaining(value: Any, remaining: int) -> int:
    if isinstance(value, str):
        return remaining - len(value)
    if isinstance(value, dict):
        for key, member in value.items():
            remaining = _remaining(member, remaining - len(str(key)))
            if remaining < 0:
                break
    elif isinstance(value, (list, tuple)):
        for item in value:
            remaining = _remaining(item, remaining - 1)
            if remaining < 0:
                break
    return remaining
