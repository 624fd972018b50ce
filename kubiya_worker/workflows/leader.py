"""This module has what a team's leader does without its model: it asks members, and says what they have answered."""

from __future__ import annotations

import json
from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import events
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.continuation import Continuation
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.tool_calls import ToolCalls


class Leader:
    """The acts of a leader that a team strategy asks for."""

    def __init__(
        self,
        core: ExecutionCore,
        tool_calls: ToolCalls,
        continuation: Continuation,
    ) -> None:
        self._run = core.run
        self._conversation = core.conversation
        self._turn = core.turn
        self._outbox = core.outbox
        self._tool_calls = tool_calls
        self._continuation = continuation

    @property
    def members(self) -> list[dict[str, Any]]:
        return self._run.context.members

    @property
    def turn(self) -> int:
        return self._turn.number

    @property
    def interrupted(self) -> bool:
        """Return True when a person has written something that nobody has read."""
        return bool(self._conversation.inbox)

    async def may_go_on(self) -> bool:
        """Wait while the execution is paused. Return False when it is marked as done. No step may be running."""
        await self._continuation.renew()
        await self._run.unpaused()
        return not self._run.done

    def take_task(self) -> str:
        """Return what people have said since the last turn."""
        count = self._conversation.take_inbox()
        return "\n\n".join(str(x["content"]) for x in self._conversation.messages[-count:]) if count else ""

    async def ask(self, members: list[dict[str, Any]], task: str, context: str = "") -> list[m.Message]:
        """Ask members at the same time, and return their answers in the order of the members."""
        message = self.add_message("", [self._call(member, task, context) for member in members])
        return await self._tool_calls.make(message)

    def _call(self, member: dict[str, Any], task: str, context: str) -> m.ToolCall:
        arguments = {"task": task, **({"context": context} if context else {})}
        call_id = f"{member['tool']}_{self._turn.number}_{self._turn.step + 1}"
        return {"id": call_id, "name": member["tool"], "arguments": json.dumps(arguments, ensure_ascii=False)}

    def add_message(self, text: str, tool_calls: list[m.ToolCall] | None = None) -> m.Message:
        """Add a message of the leader that no model made, and return it."""
        self._turn.step += 1
        now = workflow.now().isoformat()
        message: m.Message = {
            "role": "assistant",
            "content": text,
            "message_id": self._conversation.next_text_id(self._run.execution_id),
            "timestamp": now,
            **({"tool_calls": tool_calls} if tool_calls else {}),
        }
        self._conversation.append(message)
        shown = {**message, "made_by_team": True}
        self._outbox.keep(events.event(f"message:{message['message_id']}", events.MESSAGE, shown, now))
        return message
