"""The equipment of an execution's steps: variables, MCP servers and tools, and the redactor for their secrets.

It is kept in memory while the execution runs. A worker that lacks it fetches it again from the control plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from temporalio import activity

from kubiya_worker.activities.runtime import Runtime, workspace_of
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol import calls
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import hidden, mcp
from kubiya_worker.tools.base import Toolset
from kubiya_worker.tools.redact import AT_WORK, Redactor
from kubiya_worker.tools.toolset import assemble


def tool_environment(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables for tools out of `resolved/full`; the worker's own key, which is among them, is left out."""
    variables = environment.get("env_vars") or {}
    return {str(k): str(v) for k, v in variables.items() if v is not None and not str(k).startswith("KUBIYA_API_")}


async def variables_of(runtime: Runtime, execution_id: str, context: calls.Context) -> Mapping[str, str]:
    """Return the execution's variables; none, with a line in the log, when the control plane does not give them."""
    known = runtime.environments.get(execution_id)
    if known is None:
        try:
            stream = context.member.stream if context.member else execution_id
            load = runtime.control_plane.environment
            raw = await asyncio.to_thread(load, context.kind, context.agent_id, stream)
        except ControlPlaneError as error:  # not fatal (docs/protocol.md#a8): the tool runs without
            activity.logger.warning("environment.unavailable %s", error)
            return {}
        known = tool_environment(raw)
        runtime.environments.put(execution_id, known)
        runtime.servers.put(execution_id, raw.get("mcp_servers") or {})
    return known


async def servers_of(runtime: Runtime, execution_id: str, context: calls.Context) -> list[mcp.Server]:
    """Return the execution's MCP servers, with `{{…}}` in them still."""
    if runtime.servers.get(execution_id) is None:
        runtime.environments.forget(execution_id)
        await variables_of(runtime, execution_id, context)
    return mcp.parse(mcp.merged(runtime.servers.get(execution_id), context.mcp_servers))


async def toolset_of(runtime: Runtime, execution_id: str, context: calls.Context) -> Toolset:
    """Return the execution's tools. The context lists those of MCP servers."""
    known = runtime.toolsets.get(execution_id)
    if known is not None and known[0] == context.tools_version:
        return known[1]
    tools, _ = assemble(context.skills, workspace=workspace_of(runtime, execution_id, context))
    offered = [spec for spec in map(ToolSpec.parse, context.tools) if spec.source == "mcp"]
    if offered:
        servers = await servers_of(runtime, execution_id, context)
        own = (tool for tool in map(tools.get, (spec.name for spec in tools.specs)) if tool is not None)
        tools = Toolset([*own, *mcp.tools_of(offered, servers, runtime.mcp)])
    runtime.toolsets.put(execution_id, (context.tools_version, tools))
    return tools


async def redactor_for(runtime: Runtime, execution_id: str, context: calls.Context) -> Redactor:
    """Return the redactor for the secrets of the worker, of the execution's environment and of its MCP servers."""
    known = runtime.redactors.get(execution_id)
    if known is None:
        environment = await variables_of(runtime, execution_id, context)
        try:
            servers = mcp.parse(mcp.merged(runtime.servers.get(execution_id), context.mcp_servers))
        except ConfigurationError:  # the execution was refused for it when it began
            servers = []
        known = Redactor([*runtime.secrets, *hidden.values(environment, servers)])
        if runtime.environments.get(execution_id) is not None:  # not while it cannot be had
            runtime.redactors.put(execution_id, known)
    AT_WORK.set(known)
    return known
