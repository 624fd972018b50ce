"""This module holds the conversation: messages, their chain of digests, and the inbox of new messages.

Messages that a summary replaces need not be held for ever: once they are stored elsewhere, `trim` drops them.

This module uses no clock and no Temporal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubiya_worker.protocol import calls, compaction, names
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.carried import Carried

REMEMBERED_IDS = 1000  # ids of people's messages that are remembered after the messages were let go


class Conversation:
    """The conversation only grows at its end. A message_id counts once, so a signal sent twice adds one message."""

    def __init__(self, messages: Sequence[m.Message] = (), inbox: Sequence[m.Message] = ()) -> None:
        self.texts = 0  # messages of the assistant so far: the number in the id of the last one
        self._reset(messages)
        for message in inbox:
            self.receive(message)

    def _reset(self, messages: Sequence[m.Message]) -> None:
        self.messages: list[m.Message] = []
        self.inbox: list[m.Message] = []
        self._digests: list[str] = []
        self._ids: set[str] = set()
        self._given_to_model = 0  # how many messages the last model call was given
        self.stored = 0  # messages, from the first of all, that are stored elsewhere and were let go
        self.leading_kept = 0  # of those, how many lead `messages` all the same: what was last said and asked
        self._dropped_user_ids: list[str] = []
        for message in messages:
            self.append(message)

    def begin(self, first: m.Message, session: Sequence[m.Message], *, stored: int, texts: int) -> None:
        """Begin with what a session holds. The first message comes before those that arrived meanwhile."""
        waiting = self.inbox
        self._reset(session)
        self.stored, self.texts = stored, texts
        for message in [first, *waiting]:
            self.receive(message)

    def next_text_id(self, execution_id: str) -> str:
        """Return the id of the next message of the assistant."""
        self.texts += 1
        return names.assistant_message_id(execution_id, self.texts)

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
        return self.stored - self.leading_kept + len(self.messages)

    def unstored(self) -> list[m.Message]:
        """Return the messages after the first `stored` ones."""
        return self.messages[self.leading_kept :]

    def outgrown(self) -> list[m.Message]:
        """Return the messages that `trim` would drop. They have to be stored before, from position `stored` on."""
        return self.messages[self.leading_kept : compaction.begins(self.messages)]

    def trim(self) -> None:
        """Drop the messages that the newest summary replaces. A new chain of digests begins."""
        count = max(self.leading_kept, compaction.begins(self.messages))
        dropped, remaining = self.messages[:count], self.messages[count:]
        last_answer, last_question = _last_answer(remaining), _last_question(remaining)
        keep = [last_answer or _last_answer(dropped), last_question or _last_question(dropped)]
        kept = [message for message in dropped if any(message is wanted for wanted in keep if wanted is not None)]
        user_ids = [str(message["message_id"]) for message in dropped if message["role"] == "user"]
        self._dropped_user_ids = [*self._dropped_user_ids, *user_ids][-REMEMBERED_IDS:]
        self.stored, self.leading_kept = self.stored + count - self.leading_kept, len(kept)
        self.messages, self._digests, self._given_to_model = [], [], 0
        for message in [*kept, *remaining]:
            self.append(message)

    def take_inbox(self) -> int:
        """Move the messages of the inbox into the conversation and return their number."""
        received, self.inbox = self.inbox, []
        for message in received:
            self.append(message)
        return len(received)

    def delta(self) -> tuple[int, list[dict[str, Any]]]:
        """Return (base, tail) for the next model call, and note that it was given them."""
        base, tail = self.since_shown()
        self._given_to_model = len(self.messages)
        return base, tail

    def since_shown(self) -> tuple[int, list[dict[str, Any]]]:
        """Return (base, tail): the new messages since the last model call, in full or by reference."""
        base = self._given_to_model
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
        message = _last_answer(self.messages)
        return str(message["content"]) if message else ""

    def last_request(self) -> str:
        """Return the last message of the person, or of the agent that gave the task."""
        asked = _last_question(self.messages)
        return str(asked.get("content") or "") if asked else ""

    def carry(self, into: Carried) -> None:
        places = {"stored": self.stored, "kept": self.leading_kept, "heard": self._dropped_user_ids}
        into.conversation = {"messages": self.messages, "inbox": self.inbox, **(places if self.stored else {})}
        into.texts = self.texts

    def restore(self, saved: Carried) -> None:
        early, state = self.inbox, saved.conversation  # signals can come before the run begins
        self._reset(state["messages"])
        self.stored, self.leading_kept = state.get("stored", 0), state.get("kept", 0)
        self._dropped_user_ids = state.get("heard", [])
        self._ids.update(self._dropped_user_ids)
        for message in [*state["inbox"], *early]:
            self.receive(message)
        self._given_to_model = len(self.messages)  # a worker has them in memory or pages them in
        if saved.texts is None:  # a run of 0.1.0: as many as were made, at least
            numbers = (names.assistant_number(str(message.get("message_id"))) for message in self.messages)
            self.texts = max([saved.steps, saved.turn, *numbers])
        else:
            self.texts = saved.texts


def _last_answer(messages: Sequence[m.Message]) -> m.Message | None:
    return next(
        (message for message in reversed(messages) if message["role"] == "assistant" and message.get("content")), None
    )


def _last_question(messages: Sequence[m.Message]) -> m.Message | None:
    return next((message for message in reversed(messages) if message["role"] == "user"), None)
