"""The conversation as the workflow holds it: messages, their digest chain, and what waits to join them.

Pure: no clock, no Temporal. `pack` makes one compressed string of a workflow's state for continue-as-new.
"""

from __future__ import annotations

import base64
import bz2
import json
from collections.abc import Sequence
from typing import Any

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m


class Conversation:
    """Messages are appended only; each message_id counts once, so a message that is signalled twice is heard once."""

    def __init__(self, messages: Sequence[m.Message] = (), inbox: Sequence[m.Message] = ()) -> None:
        self.messages: list[m.Message] = []
        self.inbox: list[m.Message] = []
        self._digests: list[str] = []
        self._ids: set[str] = set()
        self._shown = 0  # how many messages the last model call was given
        for message in messages:
            self.append(message)
        for message in inbox:
            self.receive(message)

    def append(self, message: m.Message) -> None:
        self._ids.add(str(message.get("message_id")))
        self.messages.append(message)
        self._digests.append(m.extend_digest(self.digest(), message))

    def digest(self, length: int | None = None) -> str:
        length = len(self._digests) if length is None else length
        return self._digests[length - 1] if length else m.EMPTY_DIGEST

    def receive(self, message: m.Message) -> bool:
        """Put a person's message into the inbox; False when it was heard before or is not one."""
        message_id = str(message.get("message_id") or "")
        if not message_id or not str(message.get("content") or "").strip() or message_id in self._ids:
            return False
        self._ids.add(message_id)
        self.inbox.append(message)
        return True

    def take_inbox(self) -> int:
        """Move waiting messages into the conversation; returns how many."""
        taken, self.inbox = self.inbox, []
        for message in taken:
            self.append(message)
        return len(taken)

    def delta(self) -> tuple[int, list[dict[str, Any]]]:
        """(base, tail) for the next model call: what is new since the last one, small or by reference."""
        base = self._shown
        self._shown = len(self.messages)
        tail: list[dict[str, Any]] = []
        for message in self.messages[base:]:
            by_worker = message["role"] != "user"  # the worker that made it keeps it
            if by_worker or m.size_of(message) > calls.INLINE_BYTES:
                tail.append({"ref": message["message_id"]})
            else:
                tail.append({"message": message})
        return base, tail

    def page(self, start: int) -> dict[str, Any]:
        """The answer of `get_transcript`: {messages, total, digest (of what lies before start)}."""
        start = max(0, min(start, len(self.messages)))
        return {
            "messages": m.page(self.messages, start, calls.PAGE_BYTES),
            "total": len(self.messages),
            "digest": self.digest(start),
        }

    def last_text(self) -> str:
        """The newest assistant text, or nothing."""
        texts = (x["content"] for x in reversed(self.messages) if x["role"] == "assistant" and x.get("content"))
        return str(next(texts, ""))

    def last_request(self) -> str:
        """What a person, or whoever gave the task, has said last."""
        return next((str(x.get("content") or "") for x in reversed(self.messages) if x["role"] == "user"), "")

    def snapshot(self) -> dict[str, Any]:
        """For continue-as-new."""
        return {"messages": self.messages, "inbox": self.inbox}

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> Conversation:
        conversation = cls(saved["messages"], saved["inbox"])
        conversation._shown = len(conversation.messages)  # a worker has them in memory or pages them in
        return conversation


def pack(state: dict[str, Any]) -> str:
    """Compressed text, at about 5 MB/s. bz2 and base85, as a history holds it twice: a third less than zlib, base64."""
    return base64.b85encode(bz2.compress(json.dumps(state, separators=(",", ":")).encode())).decode()


def unpack(packed: str) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(bz2.decompress(base64.b85decode(packed)))
    return state
