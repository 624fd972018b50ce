"""This module repairs broken characters in a model's text: halves are joined, single halves become U+FFFD. Pure."""

from __future__ import annotations

from typing import Any

REPLACEMENT = "\ufffd"
_UNSEEN = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\0"))  # characters without width


def without_half_surrogates(text: str) -> str:
    """Return `text` without half surrogates, which have no UTF-8 and so can neither be hashed, stored nor sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def visible(text: str) -> str:
    """Return what a person can see of a text; empty for blanks and characters without width alone."""
    return text.translate(_UNSEEN).strip()


def cleaned(value: Any) -> Any:
    """Return a JSON value with each of its texts, keys too, made whole."""
    if isinstance(value, str):
        return without_half_surrogates(value)
    if isinstance(value, dict):
        return {without_half_surrogates(str(name)): cleaned(member) for name, member in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value


class Halves:
    """Join text that comes in pieces, one of which may end in the middle of a character."""

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, piece: str) -> str:
        """Return the complete characters so far; the first half of one is held until its second half can have come."""
        if not piece:
            return ""
        text = self._pending + piece
        self._pending = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        return without_half_surrogates(text[:-1] if self._pending else text)

    def flush(self) -> str:
        """Return the rest at the end of the text: nothing, or the replacement of a half character."""
        left, self._pending = self._pending, ""
        return REPLACEMENT if left else ""
