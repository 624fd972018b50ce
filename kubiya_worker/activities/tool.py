"""The activity `call_tool` runs one tool call; `tool_call` has the stages that a call goes through."""

from __future__ import annotations

from dataclasses import replace

from temporalio import activity

from kubiya_worker.activities.attempts import heartbeats
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.tool_call import ToolCall, carry_out
from kubiya_worker.activities.workflow_context import context_of
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol.streams import RunStream


class ToolActivities:
    """The activity of tool calls, with the worker's objects that it needs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.CALL_TOOL)
    async def call_tool(self, call: calls.ToolInput) -> calls.ToolOutcome:
        """Run the call, or return the question for a person. A tool's failure is its result, not an exception."""
        if activity.info().is_local and not self._holds(call):
            return calls.ToolOutcome(unheld=True)
        made: list[ToolCall] = []
        async with heartbeats(lambda: made[0].announced if made else ()):
            context = await context_of(self._runtime, call.execution_id, call.tools_version)
            made.append(ToolCall(self._runtime, call, context))
            outcome = await carry_out(made[0])
        return replace(outcome, crowded=self._runtime.crowded())

    def _holds(self, call: calls.ToolInput) -> bool:
        """Return whether the call needs no query of its workflow, which answers none during its own task."""
        context = self._runtime.memory.contexts.get(call.execution_id)
        if context is None or context.tools_version < call.tools_version or call.arguments is None:
            return False
        stream = RunStream(call.execution_id, context.member)
        return self._runtime.in_flight.knows(stream.id, call.behind)
