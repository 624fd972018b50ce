"""The conversation: messages as plain JSON objects, and the digest by which two sides agree on a prefix of it.

A message is a dict so that it travels unchanged through Temporal, HTTP and the session store:

    user       {role, content, message_id, timestamp, user_id?, user_name?, user_email?, user_avatar?}
    assistant  {role, content, message_id, timestamp, tool_calls?: [{id, name, arguments, cut?}], thinking?: [...],
                model?, cut?}
    tool       {role, content, message_id, timestamp, tool_call_id, tool_name, status, tool_error?, images?}

`arguments` is the raw JSON text as the model wrote it (it can be malformed). `status` of a tool message is one of
TOOL_STATUSES. `thinking` entries are opaque to all but the model layer. `images` are [{path, type}]: files of the
workspace, since an image is too large for a history; the model call reads them (activities/pictures.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

Message = dict[str, Any]
ToolCall = dict[str, str]

TOOL_SUCCESS: Final = "success"
TOOL_FAILED: Final = "failed"
TOOL_DENIED: Final = "denied"
TOOL_EXPIRED: Final = "expired"  # nobody answered the approval in time: not a denial
TOOL_UNKNOWN: Final = "unknown"  # the worker died while a tool ran that must not run twice
TOOL_STATUSES: Final = (TOOL_SUCCESS, TOOL_FAILED, TOOL_DENIED, TOOL_EXPIRED, TOOL_UNKNOWN)

IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")  # that models take

EMPTY_DIGEST: Final = "0" * 16


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks: the form under which hashes are taken."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def extend_digest(digest: str, message: Message) -> str:
    """The digest of a conversation that is `message` longer than the one with `digest` (a hash chain)."""
    return hashlib.sha256(f"{digest}{canonical(message)}".encode()).hexdigest()[:16]


def digest_of(messages: Iterable[Message], start: str = EMPTY_DIGEST) -> str:
    for message in messages:
        start = extend_digest(start, message)
    return start


def arguments_hash(tool_name: str, arguments: Any) -> str:
    """What an approval is bound to: the tool and its parsed arguments, whatever their order or spacing."""
    return hashlib.sha256(f"{tool_name}\n{canonical(arguments)}".encode()).hexdigest()


def size_of(message: Message) -> int:
    """Bytes that the message takes on the wire, near enough for paging and budgets."""
    return len(canonical(message).encode())


def page(messages: Sequence[Message], start: int, limit_bytes: int) -> list[Message]:
    """Messages from `start` that fit into `limit_bytes`; always at least one when there is one."""
    chosen: list[Message] = []
    used = 0
    for message in messages[start:]:
        used += size_of(message)
        if chosen and used > limit_bytes:
            break
        chosen.append(message)
    return chosen
