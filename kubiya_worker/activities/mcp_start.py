"""`start_server` waits for an MCP server that was still starting when its execution began."""

from __future__ import annotations

from temporalio import activity

from kubiya_worker.activities.attempts import heartbeats
from kubiya_worker.activities.mcp_tools import look
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.step_resources import redactor_for
from kubiya_worker.activities.workflow_context import context_of
from kubiya_worker.protocol import calls, names, servers


class ServerActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.START_SERVER)
    async def start_server(self, call: calls.ServerInput) -> calls.ServerResult:
        """Wait until a server can be used or its time to start is over, and publish the outcome."""
        runtime, execution_id = self._runtime, call.execution_id
        async with heartbeats():
            context = await context_of(runtime, execution_id, call.tools_version)
            discovery = await look(runtime, execution_id, context, [call.server])
            redactor = await redactor_for(runtime, execution_id, context)
            reason = redactor.text(discovery.missing.get(call.server, ""))
            publisher = runtime.publisher(call, context)
            async with publisher as out:
                if reason:
                    entry = servers.degrade({}, servers.SERVER, call.server, reason)
                    line = servers.message_of(entry)
                    activity.logger.warning("mcp.unavailable %s", line)
                    out.emit(servers.notice(f"degraded:{execution_id}:{call.server}", execution_id, line, entry))
                for number, text in enumerate(map(redactor.text, discovery.notices)):
                    event_id = f"notice:{execution_id}:{call.server}:{number}"
                    out.emit(servers.notice(event_id, execution_id, text))
        return calls.ServerResult(
            tools=[spec.wire() for spec in discovery.specs],
            briefing=redactor.text(discovery.briefing),
            missing=reason,
            refused=bool(reason) and call.required,
            undelivered=publisher.outcome.undelivered,
            spooled=publisher.outcome.spooled,
            events=publisher.sent,
        )
