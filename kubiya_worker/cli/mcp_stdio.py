"""The MCP server of `kubiya mcp serve`. Standard input and output are the protocol; nothing else is written there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from mcp.server.stdio import stdio_server

from kubiya_worker.cli.connection import Api
from kubiya_worker.errors import WorkerError
from kubiya_worker.mcp_server import server
from kubiya_worker.mcp_server.api import PlaneRefused

MOST_AT_ONCE: Final = 8  # requests to the control plane; each takes a thread


class RemoteApi:
    """The control plane over HTTP, with the key of this shell."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._turn = asyncio.Semaphore(MOST_AT_ONCE)

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        async with self._turn:
            try:
                return await asyncio.to_thread(self._api.ask, method, path, None if body is None else dict(body))
            except WorkerError as error:
                raise PlaneRefused(error.line()) from None

    def link(self, execution_id: str) -> str:
        return f"{self._api.base_url}/#/executions/{quote(execution_id, safe='')}"


def run(api: Api, agents: Sequence[str], teams: Sequence[str]) -> None:
    """Serve until the client closes standard input."""
    asyncio.run(_serve(api, agents, teams))


async def _serve(api: Api, agents: Sequence[str], teams: Sequence[str]) -> None:
    remote = RemoteApi(api)
    program = server.build(lambda context: remote, agents, teams)
    async with stdio_server() as (reader, writer):
        await program.run(reader, writer, program.create_initialization_options())
