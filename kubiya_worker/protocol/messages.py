"""This module has the conversation: messages as plain JSON objects, and the digest by which two sides compare a prefix.

A message is a dict so that it travels unchanged through Temporal, HTTP and the session store:

    user       {role, content, message_id, timestamp, user_id?, user_name?, user_email?, user_avatar?}
    assistant  {role, content, message_id, timestamp, tool_calls?: [{id, name, arguments, cut?}], thinking?: [...],
                model?, cut?}
    tool       {role, content, message_id, timestamp, tool_call_id, tool_name, status, tool_error?, images?}

`arguments` is the raw JSON text as the model wrote it (it can be malformed). `status` of a tool message is one of
the constants TOOL_…; `thinking` entries are opaque to all but the model layer. `images` are [{path, type}]: files of
the workspace, since an image is too large for a history; the model call reads them (activities/images.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Message = dict[str, Any]
ROLES: Final = ("user", "assistant", "system", "tool")
_NOT_SAID: Final = ("tool_calls", "thinking", "tool_call_id")  # fields of messages that no person sends
ToolCall = dict[str, str]

TOOL_SUCCESS: Final = "success"
TOOL_FAILED: Final = "failed"
TOOL_DENIED: Final = "denied"
TOOL_EXPIRED: Final = "expired"  # nobody answered the approval in time, which is not a denial
TOOL_UNKNOWN: Final = "unknown"  # the worker died during a tool call that must not run twice

IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")  # image types that models take

EMPTY_DIGEST: Final = "0" * 16


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no blanks, the form from which hashes are made."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def extend_digest(digest: str, message: Message) -> str:
    """Return the digest of a conversation after adding `message` to the one with `digest` (a hash chain)."""
    return hashlib.sha256(f"{digest}{canonical(message)}".encode()).hexdigest()[:16]


def digest_of(messages: Iterable[Message], start: str = EMPTY_DIGEST) -> str:
    for message in messages:
        start = extend_digest(start, message)
    return start


def arguments_hash(tool_name: str, arguments: Any) -> str:
    """Return the hash of a tool's name and parsed arguments, to which an approval belongs.

    Key order and spacing are ignored.
    """
    return hashlib.sha256(f"{tool_name}\n{canonical(arguments)}".encode()).hexdigest()


def size_of(message: Message) -> int:
    """Return the message's size on the wire in bytes, exact enough for paging and budgets."""
    return len(canonical(message).encode())


def page(messages: Sequence[Message], start: int, limit_bytes: int) -> list[Message]:
    """Return messages from `start` that fit into `limit_bytes`; at least one if there is any."""
    chosen: list[Message] = []
    used = 0
    for message in messages[start:]:
        used += size_of(message)
        if chosen and used > limit_bytes:
            break
        chosen.append(message)
    return chosen


def readable(message: Mapping[str, Any]) -> Message:
    """Return a message of others with fields of the types that a conversation needs; a sound one stays as it is.

    What is none of its field is left out: one such message would break each further step of the execution.
    """
    cleaned = dict(message)
    role = cleaned.get("role")
    if not isinstance(role, str) or role not in ROLES:
        cleaned["role"] = "user"
    if not isinstance(cleaned.get("message_id", ""), str):
        cleaned["message_id"] = str(cleaned["message_id"])
    if cleaned["role"] == "tool" and not isinstance(cleaned.get("status"), str):
        cleaned["status"] = TOOL_SUCCESS
    for name, is_sound in (("tool_calls", _is_call), ("thinking", _is_entry)):
        entries = cleaned.get(name)
        if entries is None:
            continue
        kept = [each for each in entries if is_sound(each)] if isinstance(entries, list) else []
        if kept != entries:
            cleaned[name] = kept
    return cleaned


def said(message: Mapping[str, Any], now: str) -> Message:
    """Return a person's message as it was sent, at the time `now` if it names none: without calls and thoughts."""
    cleaned = readable({"role": "user", "timestamp": now, **message})
    if cleaned["role"] == "tool":
        cleaned["role"] = "user"
    if not isinstance(cleaned["timestamp"], str):
        cleaned["timestamp"] = now
    return {name: value for name, value in cleaned.items() if name not in _NOT_SAID or value is None}


def _is_call(call: Any) -> bool:
    if not isinstance(call, dict) or not isinstance(call.get("arguments", ""), str):
        return False
    return bool(call.get("id")) and all(isinstance(call.get(name), str) for name in ("id", "name"))


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict)
