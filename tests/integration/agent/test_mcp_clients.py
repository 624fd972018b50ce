"""Agents as tools of MCP clients: the SDK's client, by stdio and by HTTP, starts, follows, answers and cancels runs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import mcp.types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.support.stack import ROOT, Stack

ASK = {"name": "ask", "type": "ask_person"}
FILES = {"name": "files", "type": "file_system"}
Show = Any  # the SDK names the parameters of its protocols
WAYS = ("stdio", "http-legacy", "http-modern")


def script(*steps: dict[str, Any]) -> str:
    return "demo:script " + json.dumps([*steps, {"text": "Done."}])


def agent(stack: Stack, *skills: dict[str, Any]) -> str:
    name = f"helper-{uuid.uuid4().hex[:8]}"
    stack.agent(name, skills=list(skills))
    return name


@contextlib.asynccontextmanager
async def client(
    stack: Stack, way: str, show: Show | None = None, key: str = "", arguments: tuple[str, ...] = ()
) -> AsyncIterator[Client]:
    key = key or stack.key
    if way == "stdio":
        environment = {**os.environ, "KUBIYA_API_KEY": key, "CONTROL_PLANE_URL": stack.url, "PYTHONPATH": str(ROOT)}
        command = ["-m", "kubiya_worker.cli.main", "mcp", "serve", *arguments]
        async with Client(
            StdioServerParameters(command=sys.executable, args=command, env=environment), elicitation_callback=show
        ) as session:
            yield session
        return
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        transport = streamable_http_client(f"{stack.url}/mcp", http_client=http)
        mode = "legacy" if way == "http-legacy" else "auto"
        async with Client(transport, mode=mode, elicitation_callback=show) as session:
            yield session


def told(result: types.CallToolResult) -> dict[str, Any]:
    return dict(result.structured_content or {})


@pytest.mark.parametrize("way", WAYS)
async def test_a_run_is_started_with_progress_and_its_answer_comes_back(stack: Stack, way: str) -> None:
    name = agent(stack, {"name": "wait", "type": "sleep"})
    lines: list[str] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        lines.append(str(message))

    async with client(stack, way) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert {"follow_execution", "send_message", "cancel_execution", f"agent_{name}"} <= set(tools)
        assert any(tool.startswith("team_") for tool in tools)
        task = script({"tools": [{"name": "sleep", "arguments": {"seconds": 0.2}}]})
        result = await session.call_tool(f"agent_{name}", {"task": task}, progress_callback=progress)
    about = told(result)
    assert (about["status"], about["answer"], result.is_error) == ("completed", "Done.", False)
    assert "runs sleep" in lines
    row = stack.execution(about["execution_id"])
    assert row["status"] == "completed"
    assert row["execution_metadata"]["source"] == "mcp"
    assert about["link"] == f"{stack.url}/#/executions/{row['id']}"


@pytest.mark.parametrize("way", WAYS)
async def test_questions_and_approvals_are_shown_to_the_person_of_the_client(stack: Stack, way: str) -> None:
    name = agent(stack, ASK, FILES)
    shown: list[str] = []

    async def show(context: Any, params: Any) -> types.ElicitResult:
        shown.append(params.message)
        if "Which host?" in params.message:
            return types.ElicitResult(action="accept", content={"answer": "web-7"})
        return types.ElicitResult(action="accept", content={"decision": "approve", "comment": "go"})

    question = {"tools": [{"name": "ask_person", "arguments": {"question": "Which host?", "options": ["web-7"]}}]}
    save = {"tools": [{"name": "save_file", "arguments": {"path": "a.txt", "content": "a"}}]}
    async with client(stack, way, show) as session:
        result = await session.call_tool(f"agent_{name}", {"task": script(question, save)})
    about = told(result)
    assert (about["status"], about["answer"]) == ("completed", "Done.")
    assert len(shown) == 2
    assert "Suggested: web-7" in shown[0]
    assert "save_file" in shown[1]
    assert '"a.txt"' in shown[1]
    done = [e["data"] for e in stack.events(about["execution_id"]) if e["event"] == "tool_completed"]
    assert [each["status"] for each in done] == ["success", "success"]
    assert done[0]["tool_output"] == "web-7"


async def test_a_client_without_forms_is_told_that_it_waits_in_the_inbox_and_follows_later(stack: Stack) -> None:
    name = agent(stack, ASK)
    question = {"tools": [{"name": "ask_person", "arguments": {"question": "May I?"}}]}
    async with client(stack, "http-legacy") as session:
        waiting = await session.call_tool(f"agent_{name}", {"task": script(question)})
        assert "waits for a person, in the inbox" in str(waiting.content)
        (asked,) = told(waiting)["waiting_for"]
        execution = told(waiting)["execution_id"]
        stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {"answer": "yes"})
        result = await session.call_tool("follow_execution", {"execution_id": execution})
        assert told(result)["status"] == "completed"


async def test_a_form_that_is_declined_decides_nothing(stack: Stack) -> None:
    name = agent(stack, FILES)
    shown: list[str] = []

    async def show(context: Any, params: Any) -> types.ElicitResult:
        shown.append(params.message)
        return types.ElicitResult(action="decline")

    save = {"tools": [{"name": "save_file", "arguments": {"path": "a.txt", "content": "a"}}]}
    async with client(stack, "http-modern", show) as session:
        result = await session.call_tool(f"agent_{name}", {"task": script(save)})
        (asked,) = told(result)["waiting_for"]
        assert len(shown) == 1
        assert stack.call("GET", f"/approvals/{asked['approval_id']}")["status"] == "pending"
        await session.call_tool("cancel_execution", {"execution_id": told(result)["execution_id"]})
    assert stack.wait(told(result)["execution_id"], "cancelled")["status"] == "cancelled"


async def test_a_run_goes_on_without_its_client_and_is_cancelled_by_another(stack: Stack) -> None:
    name = agent(stack, {"name": "wait", "type": "sleep"})
    task = script({"tools": [{"name": "sleep", "arguments": {"seconds": 600}}]})
    async with client(stack, "stdio", arguments=("--agent", name)) as session:
        offered = {tool.name for tool in (await session.list_tools()).tools}
        assert {tool for tool in offered if tool.startswith(("agent_", "team_"))} == {f"agent_{name}"}
        started = told(await session.call_tool(f"agent_{name}", {"task": task, "wait_seconds": 0}))
    assert started["status"] in ("pending", "queued", "running")
    stack.first(started["execution_id"], "tool_started")
    async with client(stack, "http-legacy") as session:
        await session.call_tool("cancel_execution", {"execution_id": started["execution_id"]})
        ended = await session.call_tool("follow_execution", {"execution_id": started["execution_id"]})
    assert told(ended)["status"] == "cancelled"


async def test_a_key_can_do_what_its_role_can(stack: Stack) -> None:
    name = agent(stack)
    viewer = stack.call("POST", "/keys", {"name": f"looks-{name}", "role": "viewer"})["key"]
    async with client(stack, "http-legacy", key=viewer) as session:
        refused = await session.call_tool(f"agent_{name}", {"task": script()})
        assert refused.is_error
        assert "has the role viewer; this needs operator, admin or worker" in str(refused.content)
        unknown = await session.call_tool("follow_execution", {"execution_id": "nothing"})
        assert "not found" in str(unknown.content)
        wrong = await session.call_tool(f"agent_{name}", {"tsk": "x"})
        assert "The arguments do not fit" in str(wrong.content)
    async with httpx2.AsyncClient(trust_env=False) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "kubiya_session=x"}):
            assert (await http.post(f"{stack.url}/mcp", json=body, headers=headers)).status_code == 401


async def test_a_session_belongs_to_the_key_that_opened_it(stack: Stack) -> None:
    other = stack.call("POST", "/keys", {"name": f"other-{uuid.uuid4().hex[:6]}", "role": "admin"})["key"]
    headers = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {stack.key}"}
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
    async with httpx2.AsyncClient(trust_env=False) as http:
        opened = await http.post(f"{stack.url}/mcp", json=body, headers=headers)
        headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await http.post(f"{stack.url}/mcp", json=ping, headers=headers)).status_code == 200
        headers["Authorization"] = f"Bearer {other}"
        assert (await http.post(f"{stack.url}/mcp", json=ping, headers=headers)).status_code == 404
