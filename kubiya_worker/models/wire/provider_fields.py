"""This module joins fields of a message or a call that only their provider understands. Pure.

They go back unchanged: texts that came in pieces are joined, objects are merged, lists grow. In two lists the
elements are joined as well: `thinking_blocks`, and `reasoning_details`, whose pieces the next request may not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.protocol.characters import cleaned

Fields = dict[str, Any]

BLOCKS: Final = "thinking_blocks"
DETAILS: Final = "reasoning_details"
MIRROR: Final = "provider_specific_fields"  # LiteLLM's field, which repeats the others
_GROWING: Final = ("thinking", "text", "summary", "signature")  # texts of a block or a detail that come in pieces


def merge(fields: Fields, news: Mapping[str, Any], leave_out: frozenset[str] = frozenset()) -> None:
    """Add a piece to the fields so far."""
    for name, value in news.items():
        if name in leave_out or value is None or value in ("", [], {}):
            continue
        if name == MIRROR and isinstance(value, Mapping):
            value = {key: inner for key, inner in value.items() if inner and not news.get(key)}
            if not value:
                continue
        fields[name] = _merged(fields.get(name), value, name)


def finished(fields: Fields) -> Fields:
    """Return the fields in the form to send back."""
    clean: Fields = cleaned(fields)
    for block in clean.get(BLOCKS) or ():
        if isinstance(block, dict):
            block.pop("index", None)  # a field of the stream, not of the block: Anthropic refuses unknown fields
    return clean


def _merged(old: Any, new: Any, name: str) -> Any:
    if isinstance(new, list) and (old is None or isinstance(old, list)):
        grown = list(old or ())
        for item in new:
            _append(grown, item, name)
        return grown
    if isinstance(old, str) and isinstance(new, str):
        return old if old == new else old + new  # the same value again is a repetition, not a piece
    if isinstance(old, dict) and isinstance(new, Mapping):
        both = dict(old)
        for key, value in new.items():
            if value is not None:
                both[key] = _merged(both.get(key), value, key)
        return both
    return dict(new) if isinstance(new, Mapping) else new


def _append(items: list[Any], item: Any, name: str) -> None:
    if not isinstance(item, Mapping):
        items.append(item)
        return
    last = items[-1] if items and isinstance(items[-1], dict) else None
    if name in (BLOCKS, DETAILS) and last is not None and _continues(last, item):
        for key, value in item.items():
            grows = key in _GROWING and isinstance(value, str) and isinstance(last.get(key), str)
            if value is not None:
                last[key] = last[key] + value if grows else value
    elif item not in items:
        items.append(dict(item))


def _continues(last: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Return whether a piece belongs to the block before it: same type and place, and that block is not signed yet."""
    if last.get("type") != item.get("type") or "data" in item or "data" in last:
        return False
    for key in ("index", "id"):
        if item.get(key) is not None and last.get(key) is not None and item[key] != last[key]:
            return False
    says = any(item.get(key) for key in ("thinking", "text", "summary"))
    return not (last.get("signature") and says)
