"""Texts of others in a form that can be kept: at most so long, and without characters that JSON cannot carry."""

from __future__ import annotations

from typing import Any


def cut(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, the last of them an ellipsis where something is missing."""
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)].rstrip()}…"


def clean(text: Any) -> str:
    """Return text that JSON and UTF-8 can carry: no half surrogates, no NUL."""
    raw = text if isinstance(text, str) else str(text)
    return raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
