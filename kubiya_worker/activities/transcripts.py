"""Conversations that this worker has seen are kept in memory, so that a model call need not carry them.

This module does no I/O. Use it from the event loop's thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from kubiya_worker.protocol import messages as m

LIMIT_BYTES = 16 * 1024 * 1024  # JSON text of all kept conversations; Python objects take about three times as much


class _Conversation:
    """The messages of one execution with the digest after each, and loose ones that a tool left for the next call."""

    def __init__(self) -> None:
        self.messages: list[m.Message] = []
        self.digests: list[str] = []
        self.loose: dict[str, m.Message] = {}
        self.bytes = 0

    def digest(self, length: int) -> str:
        return self.digests[length - 1] if length else m.EMPTY_DIGEST

    def truncate(self, length: int) -> None:
        for message in self.messages[length:]:
            self.bytes -= m.size_of(message)
        del self.messages[length:], self.digests[length:]

    def append(self, message: m.Message) -> None:
        self.digests.append(m.extend_digest(self.digest(len(self.messages)), message))
        self.messages.append(message)
        self.bytes += m.size_of(message)

    def leave(self, message: m.Message) -> None:
        self.take(str(message["message_id"]))
        self.loose[str(message["message_id"])] = message
        self.bytes += m.size_of(message)

    def take(self, message_id: str) -> None:
        """Drop a loose message, which has joined the others or is replaced."""
        message = self.loose.pop(message_id, None)
        if message is not None:
            self.bytes -= m.size_of(message)


class Transcripts:
    """The store of conversations. Above the limit (bytes of JSON) it drops the least recently used ones."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[str, _Conversation] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def _touch(self, execution_id: str) -> _Conversation:
        conversation = self._kept.setdefault(execution_id, _Conversation())
        self._kept.move_to_end(execution_id)
        return conversation

    def leave(self, execution_id: str, message: m.Message) -> None:
        """Keep a message that the workflow will refer to by its message_id."""
        conversation = self._touch(execution_id)
        conversation.leave(message)
        self._evict(execution_id)

    def find(self, execution_id: str, message_id: str) -> m.Message | None:
        conversation = self._kept.get(execution_id)
        if conversation is None:
            return None
        if message_id in conversation.loose:
            return conversation.loose[message_id]
        return next((x for x in reversed(conversation.messages) if x.get("message_id") == message_id), None)

    def assemble(
        self, execution_id: str, base: int, tail: Sequence[dict[str, Any]], digest: str
    ) -> list[m.Message] | None:
        """Return the conversation with this digest from memory; None when a part is missing or differs."""
        conversation = self._kept.get(execution_id) or _Conversation()
        if len(conversation.messages) < base:
            return None
        added: list[m.Message] = []
        for item in tail:
            message = item.get("message") or self.find(execution_id, str(item.get("ref")))
            if message is None:
                return None
            added.append(message)
        if m.digest_of(added, conversation.digest(base)) != digest:
            return None
        conversation.truncate(base)
        for message in added:
            conversation.append(message)
            conversation.take(str(message.get("message_id")))
        self._kept[execution_id] = conversation
        self._kept.move_to_end(execution_id)
        self._evict(execution_id)
        return list(conversation.messages)

    def held(self, execution_id: str) -> tuple[int, str]:
        """Return the number of messages kept and their digest, from which a query can continue."""
        conversation = self._kept.get(execution_id)
        return (
            (len(conversation.messages), conversation.digest(len(conversation.messages)))
            if conversation
            else (0, m.EMPTY_DIGEST)
        )

    def replace(self, execution_id: str, start: int, messages: Sequence[m.Message]) -> list[m.Message]:
        """Keep the first `start` messages, append `messages`, and return the whole conversation."""
        conversation = self._touch(execution_id)
        conversation.truncate(start)
        for message in messages:
            conversation.append(message)
            conversation.take(str(message.get("message_id")))
        whole = list(conversation.messages)
        self._evict(execution_id)
        return whole

    def forget(self, execution_id: str) -> None:
        self._kept.pop(execution_id, None)

    def _evict(self, current: str) -> None:
        total = sum(c.bytes for c in self._kept.values())
        for execution_id in list(self._kept):
            if total <= self._limit or execution_id == current:
                break
            total -= self._kept.pop(execution_id).bytes
