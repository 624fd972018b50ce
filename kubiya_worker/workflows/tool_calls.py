"""This module makes the tool calls that a model asks for in one message."""

from __future__ import annotations

import asyncio

from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import options
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.call_course import CallCourse
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.mcp_servers import McpServers
from kubiya_worker.workflows.repeated_failures import RepeatedFailures
from kubiya_worker.workflows.tool_inputs import ToolInputs


class ToolCalls:
    """The tool calls of an execution: those of a message are made at the same time."""

    def __init__(
        self,
        core: ExecutionCore,
        budget: Budget,
        mcp_servers: McpServers,
        repeated_failures: RepeatedFailures,
        inputs: ToolInputs,
        course: CallCourse,
    ) -> None:
        self._run = core.run
        self._conversation = core.conversation
        self._turn = core.turn
        self._budget = budget
        self._mcp_servers = mcp_servers
        self._repeated_failures = repeated_failures
        self._inputs = inputs
        self._course = course

    async def make(self, asked_by: m.Message) -> list[m.Message]:
        """Make all calls of a message at the same time. Return their messages in the order of the calls."""
        tool_calls: list[m.ToolCall] = asked_by["tool_calls"]
        await self._mcp_servers.ready_for(tool_calls)
        self._budget.clock.tools_begin()
        brief = self._are_brief(tool_calls)
        results = await asyncio.gather(*(self._make(call, asked_by, brief=brief) for call in tool_calls))
        for result in results:
            self._conversation.append(result)
        self._budget.clock.tools_end()
        return results

    def _are_brief(self, tool_calls: list[m.ToolCall]) -> bool:
        """Return whether calls can be made within the workflow's task: together, as the task ends with the last one."""
        context = self._run.context
        brief = {tool["name"] for tool in context.tools if tool.get("brief")}
        few = len(tool_calls) <= options.BRIEF_TOOLS
        return few and all(call["name"] in brief for call in tool_calls)

    async def _make(self, call: m.ToolCall, asked_by: m.Message, *, brief: bool) -> m.Message:
        message, outcome = await self._course.follow(self._inputs.of(call, asked_by), brief=brief)
        if outcome is not None and outcome.record:
            self._turn.note_tool(outcome.record)
        return self._repeated_failures.note(call, message, outcome)
