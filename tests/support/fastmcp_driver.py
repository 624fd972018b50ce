"""Plays a plan of mcp_sdk_driver.mjs with the client of fastmcp. Run it where fastmcp is installed."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


async def play(plan: dict[str, Any]) -> dict[str, Any]:
    from fastmcp import Client  # in an environment of its own
    from fastmcp.client.transports import StdioTransport, StreamableHttpTransport

    shown: list[str] = []
    progress: list[str] = []
    results: list[dict[str, Any]] = []
    answers = list(plan.get("answers") or ())

    async def answer(message: str, *_: Any) -> Any:
        shown.append(message)
        return answers.pop(0)

    async def update(done: float, total: float | None, message: str | None) -> None:
        progress.append(str(message))

    if plan.get("url"):
        transport: Any = StreamableHttpTransport(plan["url"], headers=plan["headers"])
    else:
        transport = StdioTransport(plan["command"], plan["args"], env=plan["env"])
    handler = answer if plan.get("answers") is not None else None
    async with Client(transport, elicitation_handler=handler, progress_handler=update) as client:
        tools = [tool.name for tool in await client.list_tools()]
        execution = plan.get("execution")
        for call in plan["calls"]:
            given = {**call["arguments"], **({"execution_id": execution} if call.get("follows") else {})}
            result = await client.call_tool(call["name"], given, raise_on_error=False)
            structured = result.structured_content or {}
            execution = structured.get("execution_id", execution)
            text = getattr(result.content[0], "text", "") if result.content else ""
            results.append({"structured": structured, "text": text, "error": result.is_error})
    return {"tools": tools, "shown": shown, "progress": progress, "results": results}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(json.load(sys.stdin)))))
