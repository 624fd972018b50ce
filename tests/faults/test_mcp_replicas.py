"""MCP clients of two servers behind a balancer that leads each request to the next one: nothing is tied to a server."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import mcp.types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support import postgres
from tests.support.balancer import Balancer
from tests.support.postgres import PostgresServer
from tests.support.replica_stack import ReplicaStack
from tests.support.stack import free_port

pytestmark = [
    pytest.mark.slow,  # two servers, PostgreSQL, Temporal and a worker: half a minute
    pytest.mark.timeout(300),
    pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"),
]
WAYS = ("legacy", "auto")  # the versions of MCP with a handshake, and those without
ASK = {"name": "ask", "type": "ask_person"}
WAIT = {"name": "wait", "type": "sleep"}
QUESTION = {"tools": [{"name": "ask_person", "arguments": {"question": "Which host?"}}]}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres.postgres_server() as made:
        yield made


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, server: PostgresServer) -> Iterator[ReplicaStack]:
    with ReplicaStack(tmp_path_factory.mktemp("stack"), server) as running:
        running.worker()
        yield running


class Clients:
    """Clients of a balancer of their own: each of their requests is a connection, and so goes to the other server."""

    def __init__(self, stack: ReplicaStack) -> None:
        self._stack, self.port = stack, free_port()
        self.balancer = Balancer(self.port, stack.ports)

    @contextlib.asynccontextmanager
    async def one(self, way: str, show: Any = None, key: str = "") -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {key or self._stack.key}"}
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=120, trust_env=False) as http:
            transport = streamable_http_client(f"http://127.0.0.1:{self.port}/mcp", http_client=http)
            async with Client(transport, mode=way, elicitation_callback=show) as session:
                yield session


@pytest.fixture
def clients(stack: ReplicaStack) -> Iterator[Clients]:
    made = Clients(stack)
    yield made
    made.balancer.close()
    counts = [made.balancer.led[port] for port in stack.ports]
    assert min(counts) > 0 and max(counts) - min(counts) <= 1, "each server had its half of the requests"


def agent(stack: ReplicaStack, *skills: dict[str, Any]) -> str:
    name = f"helper-{uuid.uuid4().hex[:8]}"
    stack.agent(name, skills=list(skills))
    return f"agent_{name}"


def script(*steps: dict[str, Any]) -> str:
    return "demo:script " + json.dumps([*steps, {"text": "Done."}])


def told(result: types.CallToolResult) -> dict[str, Any]:
    return dict(result.structured_content or {})


@pytest.mark.parametrize("way", WAYS)
async def test_a_run_is_started_followed_and_cancelled(stack: ReplicaStack, clients: Clients, way: str) -> None:
    tool, lines = agent(stack, WAIT), list[str]()

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        lines.append(str(message))

    async with clients.one(way) as session:
        assert tool in {each.name for each in (await session.list_tools()).tools}
        task = script({"tools": [{"name": "sleep", "arguments": {"seconds": 0.1}}]})
        result = await session.call_tool(tool, {"task": task}, progress_callback=progress)
        assert (told(result)["status"], told(result)["answer"]) == ("completed", "Done.")
        assert "runs sleep" in lines
        task = script({"tools": [{"name": "sleep", "arguments": {"seconds": 600}}]})
        started = told(await session.call_tool(tool, {"task": task, "wait_seconds": 0}))["execution_id"]
        await session.call_tool("cancel_execution", {"execution_id": started})
        ended = await session.call_tool("follow_execution", {"execution_id": started})
        assert told(ended)["status"] == "cancelled"


@pytest.mark.parametrize("way", WAYS)
async def test_a_form_is_answered_at_another_server(stack: ReplicaStack, clients: Clients, way: str) -> None:
    tool, shown = agent(stack, ASK), list[str]()

    async def show(context: Any, params: Any) -> types.ElicitResult:
        shown.append(params.message)
        return types.ElicitResult(action="accept", content={"answer": f"web-{len(shown)}"})

    async with clients.one(way, show) as session:
        result = await session.call_tool(tool, {"task": script(QUESTION, QUESTION)})
    assert (told(result)["status"], told(result)["answer"]) == ("completed", "Done.")
    assert len(shown) == 2 and all("Which host?" in each for each in shown)
    done = [e["data"] for e in stack.events(told(result)["execution_id"]) if e["event"] == "tool_completed"]
    assert [each["tool_output"] for each in done] == ["web-1", "web-2"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_form_that_is_closed_decides_nothing_and_ends_the_wait(
    stack: ReplicaStack, clients: Clients, way: str
) -> None:
    tool, shown = agent(stack, ASK), list[str]()

    async def show(context: Any, params: Any) -> types.ElicitResult:
        shown.append(params.message)
        return types.ElicitResult(action="decline")

    async with clients.one(way, show) as session:
        result = await session.call_tool(tool, {"task": script(QUESTION)})
        (asked,) = told(result)["waiting_for"]
        assert len(shown) == 1 and stack.call("GET", f"/approvals/{asked['approval_id']}")["status"] == "pending"
        await session.call_tool("cancel_execution", {"execution_id": told(result)["execution_id"]})


async def test_an_answer_in_the_inbox_ends_the_form_s_wait(stack: ReplicaStack, clients: Clients) -> None:
    tool = agent(stack, ASK)

    async def show(context: Any, params: Any) -> types.ElicitResult:
        (asked,) = stack.call("GET", "/approvals?status=pending")
        stack.call("POST", f"/approvals/{asked['id']}/approve", {"answer": "by the inbox"})
        return types.ElicitResult(action="accept", content={"answer": "too late"})

    async with clients.one("legacy", show) as session:
        result = await session.call_tool(tool, {"task": script(QUESTION)})
    (done,) = [e["data"] for e in stack.events(told(result)["execution_id"]) if e["event"] == "tool_completed"]
    assert done["tool_output"] == "by the inbox" and told(result)["status"] == "completed"


async def test_a_client_without_forms_is_sent_to_the_inbox(stack: ReplicaStack, clients: Clients) -> None:
    tool = agent(stack, ASK)
    async with clients.one("legacy") as session:
        waiting = await session.call_tool(tool, {"task": script(QUESTION)})
        assert "waits for a person, in the inbox" in str(waiting.content)
        (asked,) = told(waiting)["waiting_for"]
        stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {"answer": "yes"})
        result = await session.call_tool("follow_execution", {"execution_id": told(waiting)["execution_id"]})
    assert told(result)["status"] == "completed"


async def test_a_session_outlives_the_server_that_began_it(stack: ReplicaStack, clients: Clients) -> None:
    tool = agent(stack)
    async with clients.one("legacy") as session:
        for number in (0, 1):
            stack.replicas[number].kill()
            result = await session.call_tool(tool, {"task": script()})
            assert told(result)["status"] == "completed"
            stack.replicas[number] = stack.start_replica(number)
            stack.replicas[number].expect("control_plane.listening")
    clients.balancer.led.clear()
    clients.balancer.led.update(dict.fromkeys(stack.ports, 1))  # it was not even, as one of them was away
