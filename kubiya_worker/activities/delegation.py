"""The skill `agent_communication` in an execution: calls of other agents, with or without waiting for them.

If the caller waits, this module only finds and checks the agent, and the workflow runs it. Otherwise the control plane
starts a separate execution, and reports its status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from temporalio import activity

from kubiya_worker.activities import workflow_context
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.protocol import calls, team
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.agent_communication import FOLLOW_UP, STATUS, Communication
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tracing import current

T = TypeVar("T")


def communication(tool: Tool | None) -> Communication | None:
    """Return the tool if it is one that asks other agents, else None."""
    inner = getattr(tool, "tool", tool)
    return inner if isinstance(inner, Communication) else None


class _NotAllowed(Exception):
    """The call is refused. The message is for the model and has no full stop."""


@dataclass(frozen=True)
class Delegation:
    """One call of the skill. `whom` gives the agent that the workflow runs; else the call runs as any tool."""

    runtime: Runtime
    call: calls.ToolInput
    context: calls.Context
    tool: Communication

    @property
    def spec(self) -> ToolSpec:
        return self.tool.spec

    @property
    def waits(self) -> bool:
        return self.tool.terms.wait and self.tool.operation not in (STATUS, FOLLOW_UP)

    async def whom(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Return the agent or team to wait for, described as a team's member, with the terms. None: not allowed."""
        try:
            entity, _ = await self._find(arguments)
        except (_NotAllowed, ControlPlaneError):
            return None
        terms = self.tool.terms
        return {
            "tool": self.call.tool_name,
            "kind": self.tool.kind,
            "id": str(entity["id"]),
            "name": str(entity.get("name") or entity["id"]),
            "skill": terms.skill,
            "timeout": terms.timeout,
            "max_depth": terms.max_depth,
            "concurrent": terms.concurrent,
            "inherit_context": terms.inherit_context,
            "quiet": not terms.streaming,
        }

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        try:
            if self.tool.operation == STATUS:
                return await self._status(arguments, context.output_limit)
            if self.tool.operation == FOLLOW_UP:
                return await self._follow_up(arguments)
            return await self._start(arguments)
        except _NotAllowed as refused:
            return refusal(str(refused))
        except ControlPlaneError as error:
            doubt = "" if self.spec.idempotent else "; whether it was done is not known"
            text = f"{error.line()}{doubt}"
            return ToolResult(text, error=text, taints=False)

    async def _find(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Return the agent or team, and the number of executions above it in the chain of calls."""
        kind, terms, context = self.tool.kind, self.tool.terms, self.context
        depth = _above(context) + (context.member.depth if context.member else 0)
        if depth >= terms.max_depth:
            raise _NotAllowed(
                f"This call may ask nobody: `max_execution_depth` is {terms.max_depth}, and this is at depth {depth}"
            )
        wanted = str(arguments[kind]).strip()
        entity = await _asked(self.runtime.control_plane.definitions.find, kind, wanted)
        foreign = context.organization_id and entity.get("organization_id") not in (None, "", context.organization_id)
        if not entity or foreign or not terms.allows(kind, entity):
            who = ", ".join(terms.allowed(kind))
            raise _NotAllowed(f"There is no {kind} {wanted[:100]!r} that may be asked; may be asked: {who}")
        return entity, depth

    async def _start(self, arguments: dict[str, Any]) -> ToolResult:
        """Start a separate execution on this queue. A control plane that knows idempotency keys starts it only once."""
        entity, depth = await self._find(arguments)
        if self.tool.terms.wait:
            # It could not be found a moment ago, so this call was not made one that waits.
            raise _NotAllowed("The one that this call asks can be asked now; call again")
        task = team.task_text(arguments)
        if self.tool.terms.inherit_context:
            task = team.within(task, await workflow_context.last_request(self.runtime, self.call.execution_id))
        body = {
            "prompt": task,
            "worker_queue_id": activity.info().task_queue,
            "parent_execution_id": self._stream,
            "execution_metadata": {
                "parent_execution_id": self._stream,
                "execution_depth": depth + 1,
                **current.carrier(),
            },
            "user_metadata": self.context.user,
        }
        key = f"{self.call.execution_id}:{self.call.tool_execution_id}"
        start = self.runtime.control_plane.start_execution
        started = await _asked(start, self.tool.kind, str(entity["id"]), body, key)
        name, execution_id = str(entity.get("name") or entity["id"]), str(started.get("execution_id"))
        text = f"{name} has begun. Its execution is {execution_id}."
        return ToolResult(text, metadata={"execution_id": execution_id, "delegate": name})

    async def _status(self, arguments: dict[str, Any], limit: int) -> ToolResult:
        row = await self._own(str(arguments["execution_id"]))
        answer = str(row.get("response") or row.get("error_message") or "")
        text = f"{row.get('entity_name') or 'It'}: {str(row.get('status')).lower()}"
        text += f"\n{answer[:limit]}" if answer else ""
        left_out = len(answer) - limit
        return ToolResult(text + (f"\n… {left_out} characters left out …" if left_out > 0 else ""))

    async def _follow_up(self, arguments: dict[str, Any]) -> ToolResult:
        row = await self._own(str(arguments["execution_id"]))
        if ex.is_final(str(row.get("status"))):
            raise _NotAllowed(f"It is {str(row['status']).lower()} and takes no more messages; start another one")
        await _asked(self.runtime.control_plane.send_message, str(row["id"]), str(arguments["message"]))
        return ToolResult("It was told.")

    async def _own(self, execution_id: str) -> dict[str, Any]:
        """Return the row of an execution that this one has started. Any other id is refused."""
        row = await _asked(self.runtime.control_plane.find_execution, execution_id)
        parent = row.get("parent_execution_id") or (row.get("execution_metadata") or {}).get("parent_execution_id")
        if not row or parent != self._stream:
            raise _NotAllowed(f"There is no execution {execution_id[:100]!r} that was started from here")
        return row

    @property
    def _stream(self) -> str:
        return self.context.member.stream if self.context.member else self.call.execution_id


async def _asked(call: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.to_thread(call, *arguments)


def _above(context: calls.Context) -> int:
    """Return how many executions stand above this stream's one in the chain of calls."""
    return context.member.above if context.member else team.depth_of(context.metadata)
