"""The tools that the MCP servers of an execution offer after it has begun."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from temporalio import activity

from kubiya_worker.activities.execution_secrets import secrets_for
from kubiya_worker.activities.runtime import Runtime, workspace_of
from kubiya_worker.activities.step_resources import servers_of, variables_of
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol import calls
from kubiya_worker.tools import mcp
from kubiya_worker.tools.mcp.discovery import DiscoveredTools
from kubiya_worker.tools.policy import restrictions

RELIST: Final = 12.0  # seconds that a step waits for a server's new list


async def look(runtime: Runtime, execution_id: str, context: calls.Context, wanted: list[str]) -> DiscoveredTools:
    """Ask some servers of an execution for their tools. The names of its other tools count as taken.

    Tools that the agent's configuration does not permit are left out, as at the begin of the execution.
    """
    variables = await variables_of(runtime, execution_id, context)
    asked = [server for server in await servers_of(runtime, execution_id, context) if server.name in wanted]
    secrets = await secrets_for(runtime, execution_id, context, [server.templated for server in asked])
    others = [str(tool["name"]) for tool in context.tools if tool.get("server") not in wanted]
    workspace = workspace_of(runtime, execution_id, context)
    try:
        discovery = await mcp.discover(
            asked, runtime.mcp, variables, workspace, others, owner=execution_id, secrets=secrets
        )
    except ConfigurationError as error:  # it is `required`
        return DiscoveredTools(missing=dict.fromkeys(wanted, error.line()))
    return replace(discovery, specs=[spec for spec in discovery.specs if restrictions.permits(context.denials, spec)])


async def relisted(runtime: Runtime, execution_id: str, context: calls.Context) -> dict[str, list[dict[str, Any]]]:
    """Return server -> its tools, for the servers that have announced a change of their list."""
    changed = runtime.mcp.changed(execution_id)
    if not changed:
        return {}
    try:
        async with asyncio.timeout(RELIST):
            discovery = await look(runtime, execution_id, context, changed)
    except Exception as error:  # the step that is under way goes on with the tools that are known
        activity.logger.warning("mcp.not_listed %s: %s: %s", ", ".join(changed), type(error).__name__, error)
        return {}
    fresh = [spec.wire() for spec in discovery.specs]
    return {
        name: [tool for tool in fresh if tool["server"] == name] for name in changed if name not in discovery.missing
    }
