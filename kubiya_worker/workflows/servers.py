"""MCP servers that take long to start: they join the execution when they are ready, each by a step of its own.

An execution that can use another server waits for a slow one for `PATIENCE` seconds and then goes on; its tools are in
the first request to the model after that. One that can use no other waits until the last server has started or has
failed, as it waits for those that are `required`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from kubiya_worker.protocol import calls, names, servers
from kubiya_worker.workflows import options, outcomes
from kubiya_worker.workflows.asking import Asking


class Servers(Asking):
    def __init__(self) -> None:
        super().__init__()
        self._joining: set[str] = set()  # servers that are starting

    async def _start_servers(self, begun: calls.BeginResult) -> None:
        """Wait for the servers that are starting, as far as the execution cannot do without them."""
        assert self._context is not None
        self._joining = set(begun.starting)
        joins = [asyncio.create_task(self._join(name, name in begun.awaited)) for name in begun.starting]
        try:
            await self._until(lambda: not self._joining, servers.PATIENCE)
            awaited = set(begun.awaited)
            await workflow.wait_condition(
                lambda: not self._joining or (self._has_server() and not awaited & self._joining)
            )
        except asyncio.CancelledError:
            for join in joins:
                join.cancel()
            raise
        for name in sorted(self._joining):
            note = servers.starting_note(name)
            self._context.system_prompt = servers.with_note(self._context.system_prompt, note)
            self._context.tools_version += 1

    async def _until(self, condition: Any, seconds: float) -> None:
        try:
            await workflow.wait_condition(condition, timeout=seconds)
        except TimeoutError:
            pass  # the execution goes on without this server

    def _has_server(self) -> bool:
        return self._context is not None and any(tool.get("source") == "mcp" for tool in self._context.tools)

    async def _join(self, name: str, required: bool) -> None:
        """Wait until one server is ready, and take its tools; or note that it is missing."""
        assert self._context is not None
        request = calls.ServerInput(
            self._input.execution_id,
            name,
            required=required,
            hold=bool(self._outbox),
            behind=self._before(),
            tools_version=self._context.tools_version,
            **self._room(),
        )
        try:
            found: calls.ServerResult = await workflow.execute_activity(
                names.START_SERVER, request, result_type=calls.ServerResult, **options.SERVER
            )
            self._settle(request, found)
        except ActivityError as error:
            if is_cancelled_exception(error):
                self._joining.discard(name)
                return
            found = calls.ServerResult(missing=outcomes.cause_of(error), refused=required)
        context = self._context
        prompt = servers.without_note(context.system_prompt, servers.starting_note(name))
        if found.missing:
            entry = servers.degrade(context.metadata, servers.SERVER, name, found.missing)
            prompt = servers.with_note(prompt, servers.missing_note(name, entry["reason"]))
            if found.refused:
                self._refusal = servers.message_of(entry)
        else:
            context.tools = servers.replaced(context.tools, {name: found.tools})
            prompt = servers.with_note(prompt, found.briefing)
        context.system_prompt = prompt
        context.tools_version += 1
        self._joining.discard(name)

    async def _joined(self, tool_calls: list[Any]) -> None:
        """Wait for servers that are starting when the model calls a tool that only they can have."""
        assert self._context is not None
        if self._joining:
            offered = {tool["name"] for tool in self._context.tools}
            if any(call["name"].startswith("mcp__") and call["name"] not in offered for call in tool_calls):
                await workflow.wait_condition(lambda: not self._joining)

    async def _quiet(self) -> None:
        """Wait for servers that are starting too: a run that is carried on has no step under way."""
        await workflow.wait_condition(lambda: not self._joining)
        await super()._quiet()

    def _relist(self, relisted: dict[str, list[dict[str, Any]]]) -> None:
        """Take the tools of servers whose list has changed."""
        if relisted and self._context is not None:
            self._context.tools = servers.replaced(self._context.tools, relisted)
            self._context.tools_version += 1
