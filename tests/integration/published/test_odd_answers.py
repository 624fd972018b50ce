"""Whole runs at a published control plane whose answers have other forms: each ends, and a failed one says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from temporalio.client import Client

from tests.support.published_plane.world import workflow_id
from tests.support.published_stack import PublishedStack
from tests.support.stack import wait_until

pytestmark = pytest.mark.slow

Change = Callable[[Any], Any]
FILES = {"name": "files", "type": "file_system", "configuration": {}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedStack]:
    with PublishedStack(tmp_path_factory.mktemp("published")) as running:
        running.worker()
        yield running


@pytest.fixture(autouse=True)
def sound(stack: PublishedStack) -> Iterator[None]:
    yield
    stack.plane.odd = {}


def fields(**changed: Any) -> Change:
    return lambda content: {**content, **changed}


def empty(_: Any) -> None:
    return None


# What is answered oddly, and with what words the run fails; "" where it goes on.
ODD: dict[str, tuple[dict[str, Change], str]] = {
    "a configuration that is a list": ({"GET /agents/": fields(configuration=["x"])}, "`configuration` of the agent"),
    "settings of a model that are a text": ({"GET /agents/": fields(llm_config="x")}, "`llm_config` of the agent"),
    "settings of a model of other types": (
        {"GET /agents/": fields(llm_config={"temperature": {}, "stop": 5, "thinking": []})},
        "",
    ),
    "a schema of another form": (
        {"GET /agents/": fields(llm_config={"response_format": {"type": [{}]}})},
        "response_format",
    ),
    "an agent of null": (
        {"GET /agents/": lambda content: dict.fromkeys(content) | {"id": content["id"], "model_id": "demo"}},
        "",
    ),
    "an agent's name and prompt of other types": ({"GET /agents/": fields(name=5, system_prompt=["x"])}, ""),
    "a skill that is a text": ({"/skills/resolved": lambda _: ["files"]}, "`skills` of the agent"),
    "skills that are an object": ({"/skills/resolved": lambda _: {"skills": []}}, ""),
    "a skill without its parts": ({"/skills/resolved": lambda _: [{"id": 5, "type": None, "configuration": None}]}, ""),
    "a skill with a configuration that is a list": (
        {"/skills/resolved": lambda _: [{**FILES, "id": "s", "configuration": ["x"]}]},
        "configuration",
    ),
    "an environment that is a list": ({"/resolved/full": lambda _: ["x"]}, ""),
    "variables of other types": ({"/resolved/full": fields(env_vars={"A": 5, "B": None, "C": []})}, ""),
    "variables that are a list": ({"/resolved/full": fields(env_vars=["x"], mcp_servers=None)}, ""),
    "servers that are a text": ({"/resolved/full": fields(mcp_servers="x")}, "mcp"),
    "rules that are texts": ({"GET /approval-rules": lambda _: ["x", None, 5]}, ""),
    "rules without their parts": ({"GET /approval-rules": lambda _: [{}, {"action": [], "priority": "x"}]}, ""),
    "a session of texts": ({"GET /executions/": fields(messages=["x", None])}, ""),
    "writes with an empty answer": ({"PATCH /executions/": empty, "POST /executions/": empty}, ""),
    "writes with a list": ({"PATCH /executions/": lambda _: [], "POST /executions/": lambda _: ["x"]}, ""),
    "a turn with another answer": ({"POST /analytics/": lambda _: {"turn_id": 5, "success": "yes"}}, ""),
    "an unknown status": ({"GET /executions/": fields(status="dreaming")}, ""),
    "a status of another type": ({"GET /executions/": fields(status=["x"])}, ""),
    "an execution that is a text": ({"GET /executions/": lambda _: "x"}, ""),
}


@pytest.mark.parametrize("name", ODD)
def test_a_run_ends_whatever_is_answered(stack: PublishedStack, name: str) -> None:
    odd, words = ODD[name]
    agent = stack.agent(f"odd-{list(ODD).index(name)}", skills=[FILES])
    stack.plane.odd = odd
    key = stack.execute("Say hello.", agent=agent)
    status = stack.closed(key)
    row = stack.world.executions[key]
    if words:
        assert (row["status"], words in str(row.get("error_message"))) == ("failed", True), row.get("error_message")
        assert "\n" not in row["error_message"] and "Traceback" not in row["error_message"]
    else:
        assert status == "COMPLETED" and row["status"] in ("completed", "waiting_for_input"), row.get("error_message")


SIGNALS: list[Any] = [
    *(None, "x", 5, [], ["x"], {}, {"content": None}, {"content": 5}, {"content": []}, {"content": {"a": 1}}),
    {"role": None, "content": "a", "message_id": 5, "timestamp": 5, "tool_calls": None},
    {"role": "dreamer", "content": "b", "message_id": ["x"], "timestamp": None, "tool_calls": "x"},
    {"role": "tool", "content": "c", "message_id": {"a": 1}, "thinking": 5},
    {"role": "assistant", "content": "d", "tool_calls": [None, {"id": None}], "thinking": ["x"]},
    {"role": "user", "content": [{"type": "text", "text": "e"}, None, 5], "user_id": [], "image_data": 5},
    {"role": "user", "content": "f\ufffd" + "y" * 50_000, "member": 5, "news": {"a": [None]}},
]


def test_a_chat_goes_on_after_odd_signals(stack: PublishedStack) -> None:
    agent = stack.agent("chat", skills=[FILES])
    key = stack.chat("Say hello.", agent=agent)
    stack.wait(key, "waiting_for_input")

    async def send(client: Client) -> None:
        handle = client.get_workflow_handle(workflow_id(stack.world.executions[key]))
        for signal in SIGNALS:
            await handle.signal("add_message", signal)
            await handle.signal("resolve_approval", signal)
            await handle.signal("mark_as_done_differently", signal)
        await handle.signal("add_message", {"role": "user", "content": "Say goodbye.", "message_id": "last"})

    stack.temporal_call(send)
    wait_until(lambda: "Say goodbye." in str(stack.world.sessions.get(key)), 60, "the last message is answered")
    stack.wait(key, "waiting_for_input")

    async def end(client: Client) -> None:
        await client.get_workflow_handle(workflow_id(stack.world.executions[key])).signal("mark_as_done")

    stack.temporal_call(end)
    assert stack.closed(key) == "COMPLETED"
