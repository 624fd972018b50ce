"""Answers of MCP servers that are not even JSON-RPC: each is read, or told, and no call waits for what has come."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kubiya_worker.tools import mcp
from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tracing import current, ids

SERVER = """
import json, sys

ANSWERS = json.loads(sys.argv[1])
for line in sys.stdin:
    message = json.loads(line)
    number, method = message.get("id"), message["method"]
    about = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
    listed = {"tools": [{"name": "t", "inputSchema": {}}]}
    known = {"initialize": {"result": about}, "tools/list": {"result": listed}, "tools/call": ANSWERS}
    if number is not None:
        print("a line for a log")
        print(json.dumps({"jsonrpc": "2.0", "id": number, **known.get(method, {"result": {}})}), flush=True)
"""


async def result_of(program: list[str], folder: Path) -> ToolResult:
    """Start a server of one tool, which is Python code with its arguments, and return what a call of it gives."""
    servers = mcp.parse({"s": {"command": sys.executable, "args": ["-c", *program], "call_timeout": 20}})
    pool = mcp.SessionPool()
    try:
        found = await mcp.discover(servers, pool, {}, folder, [])
        (tool,) = mcp.tools_of(found.specs, servers, pool)
        return await tool.run({}, ToolContext("e1", "c1", folder))
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("answer", "output", "error"),
    [
        ('{"result": "plain text"}', "plain text", False),
        ('{"result": [1, 2]}', "[1, 2]", False),
        ('{"result": null}', "[no output]", False),
        ('{"error": "it broke"}', "it broke", True),
        ('{"error": {"message": "no code"}}', "no code", True),
    ],
)
async def test_an_answer_that_is_not_of_the_protocol_is_read(
    answer: str, output: str, error: bool, tmp_path: Path
) -> None:
    result = await result_of([SERVER, answer], tmp_path)
    assert output in result.output and bool(result.error) == error


REFUSES = """
import json, sys

for line in sys.stdin:
    message = json.loads(line)
    number, method = message.get("id"), message["method"]
    asked = (message.get("params") or {}).get("protocolVersion")
    about = {"protocolVersion": sys.argv[1], "capabilities": {"tools": {}}}
    listed = {"tools": [{"name": "t", "input_schema": '{"type": "object"}'}]}
    if method == "initialize" and asked != sys.argv[1] and sys.argv[2] == "refuses":
        data = {"supported": ["2020-01-01", sys.argv[1]], "requested": asked}
        told = {"error": {"code": -32602, "message": "Unsupported protocol version", "data": data}}
    elif method == "tools/call":
        number = None
        told = {"error": {"code": -32700, "message": "Parse error"}}
    else:
        told = {"result": {"initialize": about, "tools/list": listed}.get(method, {})}
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": number, **told}), flush=True)
"""


@pytest.mark.parametrize(("version", "how"), [("2024-11-05", "refuses"), ("2024-10-07", "answers")])
async def test_an_older_version_is_spoken_and_an_error_without_a_number_ends_the_only_call(
    version: str, how: str, tmp_path: Path
) -> None:
    result = await result_of([REFUSES, version, how], tmp_path)
    assert "Parse error" in result.output and result.error


ECHO = SERVER.replace(
    '"tools/call": ANSWERS',
    '"tools/call": {"result": {"content": [{"type": "text", "text": str(message.get("params"))}]}}',
)


@pytest.mark.parametrize("is_traced", [True, False])
async def test_a_server_learns_of_the_trace_of_a_call_and_of_none_without_tracing(
    is_traced: bool, tmp_path: Path
) -> None:
    trace = ids.trace_of("e1", 1, None, None, 1.0)
    token = current.STEP.set(current.Step(7, lambda: trace, "w1", to_models=False) if is_traced else None)
    servers = mcp.parse({"s": {"command": sys.executable, "args": ["-c", ECHO, "null"], "call_timeout": 20}})
    pool = mcp.SessionPool()
    try:
        found = await mcp.discover(servers, pool, {}, tmp_path, [])
        (tool,) = mcp.tools_of(found.specs, servers, pool)
        result = await tool.run({}, ToolContext("e1", "c1", tmp_path))
    finally:
        current.STEP.reset(token)
        await pool.close()
    assert (trace.traceparent(7) in result.output, "traceparent" in result.output) == (is_traced, is_traced)
