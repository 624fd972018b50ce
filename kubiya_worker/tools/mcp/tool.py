"""This module is one tool of an MCP server, as the worker calls it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from kubiya_worker.errors import WorkerError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.mcp.answers import answer_of
from kubiya_worker.tools.mcp.config import McpServer
from kubiya_worker.tools.mcp.names import own_name, server_of
from kubiya_worker.tools.mcp.pool import SessionPool
from kubiya_worker.tools.mcp.render import render
from kubiya_worker.tools.redaction import Redactor
from kubiya_worker.tools.schemas import own_names
from kubiya_worker.tracing import conventions, current

LONGEST_ERROR: Final = 500  # characters


@dataclass(frozen=True)
class McpTool:
    """One tool of a server; its templates are filled in from the call's environment, not the start's."""

    spec: ToolSpec
    server: McpServer
    pool: SessionPool

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """Call the tool; each progress report restarts the call's timeout, up to `max_call_timeout` in all."""
        name = own_name(self.spec, self.server.name)
        loop = asyncio.get_running_loop()
        latest = loop.time() + self.server.max_call_timeout
        try:
            server = self.server.resolved(context.env, context.workspace, context.secrets)
            async with asyncio.timeout(server.call_timeout) as limit:

                def report(progress: float, total: float | None, message: str | None) -> None:
                    if not limit.expired():
                        limit.reschedule(min(loop.time() + server.call_timeout, latest))
                    context.tell(_progress(progress, total, message))

                current.note(conventions.MCP_METHOD, "tools/call")
                current.note(conventions.TRANSPORT, "pipe" if server.command else "tcp")
                result = await self.pool.call(
                    server,
                    name,
                    own_names(arguments, self.spec.names),
                    context.workspace,
                    context.execution_id,
                    idempotent=self.spec.idempotent,
                    report=report,
                )
        except TimeoutError:
            return self._failed(f"{name} did not answer within {self._waited(loop.time(), latest)} seconds")
        except WorkerError as error:
            return self._failed(error.line())
        except Exception as error:
            return self._failed(_words_of(error))
        rendered = await asyncio.to_thread(render, answer_of(result), context.keep_limit)
        return _without(rendered, self.pool.token(server))

    def _waited(self, now: float, latest: float) -> str:
        return f"{self.server.max_call_timeout if now >= latest else self.server.call_timeout:g}"

    def _failed(self, message: str) -> ToolResult:
        known = repr(self.server.name) in message
        text = message if known else f"MCP server {self.server.name!r}: {message}"
        return ToolResult(f"{text.removesuffix('.')}.", error=text)


def _words_of(error: Exception) -> str:
    """Return the words of a server's error on one line, with its data: some say there what went wrong."""
    words, data = str(error), getattr(error, "data", None)
    details = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=str) if data else ""
    words = f"{words[:LONGEST_ERROR]}: {details}" if details and details not in words else words
    code = getattr(error, "code", None)
    nothing = type(error).__name__ if code is None else f"it answered the error {code}, without a word"
    return " ".join(words[: 2 * LONGEST_ERROR].split())[:LONGEST_ERROR] or nothing


def _progress(progress: float, total: float | None, message: str | None) -> str:
    """Return a progress report as one line: the progress, and the server's message."""
    far = f"{progress:g} of {total:g}" if total else f"{progress:g}"
    return f"{' '.join(message.split())[:200]} ({far})" if message else far


def _without(result: ToolResult, token: str) -> ToolResult:
    """Return the result without the token that was fetched for the server, should it have said it back."""
    if not token:
        return result
    redactor = Redactor([token])
    error = redactor.text(result.error) if result.error else None
    return replace(result, output=redactor.text(result.output), error=error, metadata=redactor.value(result.metadata))


def tools_of(specs: Iterable[ToolSpec], servers: Iterable[McpServer], pool: SessionPool) -> list[Tool]:
    """Return the tools that an execution was given; those of a server that is configured no more are left out."""
    by_name = {server.name: server for server in servers}
    pairs = ((spec, server_of(spec, by_name)) for spec in specs if spec.source == "mcp")
    return [McpTool(spec, by_name[name], pool) for spec, name in pairs if name is not None]
