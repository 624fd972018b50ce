"""The equipment of an execution's steps: variables, MCP servers and tools, and the redactor for their secrets.

It is kept in memory while the execution runs. A worker that lacks it fetches it again from the control plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from temporalio import activity

from kubiya_worker.activities.execution_secrets import filled, secrets_for, seen
from kubiya_worker.activities.runtime import Runtime, workspace_of
from kubiya_worker.control_plane import lenient
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol import calls
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import mcp, recorded, secret_values
from kubiya_worker.tools.base import Toolset
from kubiya_worker.tools.redaction import AT_WORK, Redactor
from kubiya_worker.tools.toolset import assemble, prepare, settings_at_start


def tool_environment(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables for tools out of `resolved/full`; the worker's own key, which is among them, is left out."""
    variables = lenient.mapping(environment.get("env_vars"))
    return {str(k): str(v) for k, v in variables.items() if v is not None and not str(k).startswith("KUBIYA_API_")}


async def variables_of(runtime: Runtime, execution_id: str, context: calls.Context) -> Mapping[str, str]:
    """Return the execution's variables; none, with a line in the log, when the control plane does not give them."""
    known = runtime.memory.environments.get(execution_id)
    if known is None:
        try:
            stream = context.member.stream if context.member else execution_id
            load = runtime.control_plane.contexts.environment
            raw = await asyncio.to_thread(load, context.kind, context.agent_id, stream)
        except ControlPlaneError as error:  # not fatal (docs/protocol.md#a8): the tool runs without
            activity.logger.warning("environment.unavailable %s", error)
            return {}
        known = remember_environment(runtime, execution_id, raw)
    return filled(known, await secrets_for(runtime, execution_id, context, known))


def remember_environment(runtime: Runtime, execution_id: str, raw: Mapping[str, Any]) -> Mapping[str, str]:
    """Keep an execution's variables and MCP servers in memory, with `{{…}}` in them still; return the variables."""
    known = tool_environment(raw)
    runtime.memory.environments.put(execution_id, known)
    try:
        servers = mcp.of_environment(raw)
    except ConfigurationError:  # the execution is refused for it when it begins
        servers = {}
    runtime.memory.servers.put(execution_id, servers)
    return known


async def servers_of(runtime: Runtime, execution_id: str, context: calls.Context) -> list[mcp.McpServer]:
    """Return the execution's MCP servers, with `{{…}}` in them still."""
    if runtime.memory.servers.get(execution_id) is None:
        runtime.memory.environments.forget(execution_id)
        await variables_of(runtime, execution_id, context)
    return mcp.parse(mcp.merged(runtime.memory.servers.get(execution_id), context.mcp_servers))


async def toolset_of(runtime: Runtime, execution_id: str, context: calls.Context) -> Toolset:
    """Return the execution's tools, with the configuration that its skills have now.

    The context lists the tools of MCP servers. A skill that was taken away keeps its tools here, so that the others
    keep their names; the policy refuses calls of them.
    """
    authority = await runtime.authorities.of(context)
    version = (context.tools_version, authority.version)
    known = runtime.memory.toolsets.get(execution_id)
    if known is not None and known[0] == version:
        return known[1]
    skills = authority.current(context.skills)
    secrets = await secrets_for(runtime, execution_id, context, settings_at_start(skills))
    await prepare(skills)
    tools, _ = assemble(skills, workspace=workspace_of(runtime, execution_id, context), secrets=secrets)
    played = runtime.played_tools()
    if played:
        tools = recorded.replaced(tools, played, context.agent_name)
    offered = [spec for spec in map(ToolSpec.parse, context.tools) if spec.source == "mcp"]
    if offered:
        servers = await servers_of(runtime, execution_id, context)
        own = (tool for tool in map(tools.get, (spec.name for spec in tools.specs)) if tool is not None)
        tools = Toolset([*own, *mcp.tools_of(offered, servers, runtime.mcp)], tools.skills)
    # Without the environment's servers, which the control plane did not give, the tools of these would be missing for
    # the rest of the execution: the next call asks again.
    if not offered or runtime.memory.servers.get(execution_id) is not None:
        runtime.memory.toolsets.put(execution_id, (version, tools))
    return tools


async def settings_of(runtime: Runtime, execution_id: str, context: calls.Context, spec: ToolSpec) -> Any:
    """Return the settings of a tool whose templates are filled in at its call: its server's, or its skills'."""
    if spec.source == "mcp":
        servers = await servers_of(runtime, execution_id, context)
        return [server.templated for server in servers if server.name == spec.server]
    authority = await runtime.authorities.of(context)
    return [skill.get("configuration") for skill in authority.current(context.skills)]


async def redactor_for(runtime: Runtime, execution_id: str, context: calls.Context) -> Redactor:
    """Return the redactor for the secrets of the worker, of the execution's environment and of its MCP servers."""
    known = runtime.memory.redactors.get(execution_id)
    if known is None:
        environment = await variables_of(runtime, execution_id, context)
        try:
            servers = mcp.parse(mcp.merged(runtime.memory.servers.get(execution_id), context.mcp_servers))
        except ConfigurationError:  # the execution was refused for it when it began
            servers = []
        secrets = await secrets_for(runtime, execution_id, context, [server.templated for server in servers])
        hidden = secret_values.values(environment, servers, secrets)
        known = Redactor([*runtime.secrets, *hidden, *seen(runtime, execution_id)])
        if runtime.memory.environments.get(execution_id) is not None:  # not while it cannot be had
            runtime.memory.redactors.put(execution_id, known)
    AT_WORK.set(known)
    return known
