"""The conversation as the workflow holds it: messages, their chain of digests, and the inbox of new messages.

Messages that a summary replaces need not be held for ever: once they are stored elsewhere, `trim` drops them.

This module uses no clock and no Temporal. `pack` compresses a workflow's state into one string for continue-as-new.
"""

from __future__ import annotations

import base64
import bz2
import json
from collections.abc import Sequence
from typing import Any

from kubiya_worker.protocol import calls, compaction
from kubiya_worker.protocol import messages as m

HEARD = 1000  # ids of people's messages that are remembered after the messages were let go


class Conversation:
    """The conversation only grows at its end. A message_id counts once, so a signal sent twice adds one message."""

    def __init__(self, messages: Sequence[m.Message] = (), inbox: Sequence[m.Message] = ()) -> None:
        self.messages: list[m.Message] = []
        self.inbox: list[m.Message] = []
        self._digests: list[str] = []
        self._ids: set[str] = set()
        self._shown = 0  # how many messages the last model call was given
        self.stored = 0  # messages, from the first of all, that are stored elsewhere and were let go
        self.kept = 0  # of those, how many lead `messages` all the same: what was last said and asked
        self._heard: list[str] = []
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
        """Put a person's message into the inbox. Return False for a repeat, or for something that is no message."""
        message_id = str(message.get("message_id") or "")
        if not message_id or not str(message.get("content") or "").strip() or message_id in self._ids:
            return False
        self._ids.add(message_id)
        self.inbox.append(message)
        return True

    @property
    def total(self) -> int:
        """Return the number of all messages, including those that were dropped."""
        return self.stored - self.kept + len(self.messages)

    def rest(self) -> list[m.Message]:
        """Return the messages after the first `stored` ones."""
        return self.messages[self.kept :]

    def outgrown(self) -> list[m.Message]:
        """Return the messages that `trim` would drop. They have to be stored before, from position `stored` on."""
        return self.messages[self.kept : compaction.begins(self.messages)]

    def trim(self) -> None:
        """Drop the messages that the newest summary replaces. A new chain of digests begins."""
        count = max(self.kept, compaction.begins(self.messages))
        gone, rest = self.messages[:count], self.messages[count:]
        said, asked = _last_said(rest), _last_asked(rest)
        keep = [x for x in (said or _last_said(gone), asked or _last_asked(gone)) if x is not None]
        kept = [x for x in gone if any(x is wanted for wanted in keep)]
        self._heard = [*self._heard, *(str(x["message_id"]) for x in gone if x["role"] == "user")][-HEARD:]
        self.stored, self.kept = self.stored + count - self.kept, len(kept)
        self.messages, self._digests, self._shown = [], [], 0
        for message in [*kept, *rest]:
            self.append(message)

    def take_inbox(self) -> int:
        """Move the messages of the inbox into the conversation and return their number."""
        taken, self.inbox = self.inbox, []
        for message in taken:
            self.append(message)
        return len(taken)

    def delta(self) -> tuple[int, list[dict[str, Any]]]:
        """Return (base, tail) for the next model call: the new messages since the last one, in full or by reference."""
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
        """Return the answer to `get_transcript`: {messages, total, digest (of the messages before `start`)}."""
        start = max(0, min(start, len(self.messages)))
        return {
            "messages": m.page(self.messages, start, calls.PAGE_BYTES),
            "total": len(self.messages),
            "digest": self.digest(start),
        }

    def last_text(self) -> str:
        """Return the newest text of the assistant, or an empty string."""
        said = _last_said(self.messages)
        return str(said["content"]) if said else ""

    def last_request(self) -> str:
        """Return the last message of the person, or of the agent that gave the task."""
        asked = _last_asked(self.messages)
        return str(asked.get("content") or "") if asked else ""

    def snapshot(self) -> dict[str, Any]:
        """Return the state for continue-as-new."""
        places = {"stored": self.stored, "kept": self.kept, "heard": self._heard}
        return {"messages": self.messages, "inbox": self.inbox, **(places if self.stored else {})}

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> Conversation:
        conversation = cls(saved["messages"])
        conversation.stored, conversation.kept = saved.get("stored", 0), saved.get("kept", 0)
        conversation._heard = saved.get("heard", [])
        conversation._ids.update(conversation._heard)
        for message in saved["inbox"]:
            conversation.receive(message)
        conversation._shown = len(conversation.messages)  # a worker has them in memory or pages them in
        return conversation


def _last_said(messages: Sequence[m.Message]) -> m.Message | None:
    return next((x for x in reversed(messages) if x["role"] == "assistant" and x.get("content")), None)


def _last_asked(messages: Sequence[m.Message]) -> m.Message | None:
    return next((x for x in reversed(messages) if x["role"] == "user"), None)


def pack(state: dict[str, Any]) -> str:
    """Compress the state to text, at about 5 MB/s. A history holds it twice; bz2 and base85 save a third over zlib."""
    return base64.b85encode(bz2.compress(json.dumps(state, separators=(",", ":")).encode())).decode()


def unpack(packed: str) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(bz2.decompress(base64.b85decode(packed)))
    return state
