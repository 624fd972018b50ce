"""Asking MCP servers for their tools when an execution begins."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.mcp.config import Server
from kubiya_worker.tools.mcp.names import provider_name
from kubiya_worker.tools.mcp.pool import Pool
from kubiya_worker.tools.mcp.schema import spec_of

MAX_TOOLS: Final = 200  # of one server


async def discover(
    servers: Iterable[Server], pool: Pool, environment: Mapping[str, str], workspace: Path, taken: Iterable[str]
) -> tuple[list[ToolSpec], list[str]]:
    """The tools of all servers, and a line for each server that the execution has to do without.

    All are asked at once. A server that is `required` and cannot be used raises ConfigurationError.
    """
    servers = list(servers)
    answers = await asyncio.gather(*(_list(server, pool, environment, workspace) for server in servers))
    specs: list[ToolSpec] = []
    faults: list[str] = []
    names = set(taken)
    for server, answer in zip(servers, answers, strict=True):
        if isinstance(answer, str):
            line = f"MCP server {server.name!r} cannot be used: {answer}"
            if server.required:
                raise ConfigurationError(line, remedy="It is `required`; mend it, or set `required` to false")
            faults.append(line)
            continue
        for spec in answer:
            name = provider_name(server.name, spec.name, names)
            names.add(name)
            specs.append(ToolSpec(**{**vars(spec), "name": name}))
    return specs, faults


async def _list(server: Server, pool: Pool, environment: Mapping[str, str], workspace: Path) -> list[ToolSpec] | str:
    try:
        async with asyncio.timeout(server.timeout):
            tools = await pool.tools(server.resolved(environment), workspace)
    except TimeoutError:
        return f"it did not list its tools within {server.timeout:g} seconds"
    except WorkerError as error:
        return error.line()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    offered = [tool for tool in tools if any(fnmatch.fnmatchcase(tool.name, wanted) for wanted in server.tools)]
    return [spec_of(server, tool) for tool in offered[:MAX_TOOLS]]
