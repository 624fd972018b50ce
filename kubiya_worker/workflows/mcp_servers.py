"""This module waits for MCP servers that take long to start. Each joins the execution by a step of its own.

An execution that can use another server waits for a slow one for `PATIENCE` seconds and then goes on; its tools are in
the first request to the model after that. One that can use no other waits until the last server has started or has
failed, as it waits for those that are `required`.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from kubiya_worker.protocol import calls, names, servers
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import activity_failures, options
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.run import Run


class McpServers:
    """The MCP servers of an execution that are starting, and the changes of those that have started."""

    def __init__(self, run: Run, outbox: EventOutbox) -> None:
        self._run = run
        self._outbox = outbox
        self._starting: set[str] = set()

    async def start(self, begun: calls.BeginResult) -> None:
        """Wait for the servers that are starting, as far as the execution cannot do without them."""
        self._starting = set(begun.starting)
        joins = [asyncio.create_task(self._join(name, name in begun.awaited)) for name in begun.starting]
        try:
            await self._wait_patiently()
            awaited = set(begun.awaited)
            await workflow.wait_condition(
                lambda: not self._starting or (self._has_server() and not awaited & self._starting)
            )
        except asyncio.CancelledError:
            for join in joins:
                join.cancel()
            raise
        context = self._run.context
        for name in sorted(self._starting):
            context.system_prompt = servers.with_note(context.system_prompt, servers.starting_note(name))
            context.tools_version += 1

    async def _wait_patiently(self) -> None:
        try:
            await workflow.wait_condition(lambda: not self._starting, timeout=servers.PATIENCE)
        except TimeoutError:
            pass  # the execution goes on without these servers

    def _has_server(self) -> bool:
        return any(tool.get("source") == "mcp" for tool in self._run.context.tools)

    async def _join(self, name: str, required: bool) -> None:
        """Wait until one server is ready, and take its tools; or note that it is missing."""
        request = calls.ServerInput(
            self._run.execution_id,
            name,
            required=required,
            hold=bool(self._outbox),
            behind=self._outbox.predecessors(),
            tools_version=self._run.context.tools_version,
            **self._outbox.room(),
        )
        try:
            result: calls.ServerResult = await workflow.execute_activity(
                names.START_SERVER, request, result_type=calls.ServerResult, **options.SERVER
            )
            self._outbox.settle(request, result)
        except ActivityError as error:
            if is_cancelled_exception(error):
                self._starting.discard(name)
                return
            result = calls.ServerResult(missing=activity_failures.cause_of(error), refused=required)
        self._apply(name, result)
        self._starting.discard(name)

    def _apply(self, name: str, result: calls.ServerResult) -> None:
        context = self._run.context
        prompt = servers.without_note(context.system_prompt, servers.starting_note(name))
        if result.missing:
            entry = servers.degrade(context.metadata, servers.SERVER, name, result.missing)
            prompt = servers.with_note(prompt, servers.missing_note(name, entry["reason"]))
            if result.refused:
                self._run.refusal = servers.message_of(entry)
        else:
            context.tools = servers.replaced(context.tools, {name: result.tools})
            prompt = servers.with_note(prompt, result.briefing)
        context.system_prompt = prompt
        context.tools_version += 1

    async def ready_for(self, tool_calls: list[m.ToolCall]) -> None:
        """Wait for servers that are starting when the model calls a tool that only they can have."""
        if self._starting:
            offered = {tool["name"] for tool in self._run.context.tools}
            if any(call["name"].startswith("mcp__") and call["name"] not in offered for call in tool_calls):
                await self.started()

    async def started(self) -> None:
        """Wait until no server is starting any more."""
        await workflow.wait_condition(lambda: not self._starting)

    def relist(self, relisted: dict[str, list[dict[str, object]]]) -> None:
        """Take the tools of servers whose list has changed."""
        if relisted:
            context = self._run.context
            context.tools = servers.replaced(context.tools, relisted)
            context.tools_version += 1
