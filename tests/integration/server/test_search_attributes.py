"""Executions are found on Temporal's page by agent, queue, person and status, once the namespace has the attributes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from kubiya_worker.protocol import search
from tests.support.stack import Stack, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return a stack of its own: what a namespace knows concerns all executions of it."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.worker()
        yield running


def set_up(stack: Stack) -> str:
    argv = [str(Path(sys.executable).parent / "kubiya"), "server", "setup-temporal"]
    done = subprocess.run(
        [*argv, "--temporal-address", stack.temporal_address], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def take_away(stack: Stack) -> None:
    """Remove the attributes, as far as the namespace has them: tests come in any order."""

    async def remove() -> None:
        client = await Client.connect(stack.temporal_address)
        request = RemoveSearchAttributesRequest(namespace="default", search_attributes=[*search.ALL])
        await client.operator_service.remove_search_attributes(request)

    with contextlib.suppress(RPCError):
        asyncio.run(remove())


def restart(stack: Stack) -> None:
    """Let the server look at the attributes now, and not within a minute."""
    stack.server.kill()  # type: ignore[union-attr]
    stack.start_server()


def found(stack: Stack, query: str) -> list[str]:
    async def ask() -> list[str]:
        client = await Client.connect(stack.temporal_address)
        return [one.id async for one in client.list_workflows(query)]

    return asyncio.run(ask())


def test_an_execution_is_found_by_what_people_know_of_it(stack: Stack) -> None:
    take_away(stack)
    restart(stack)
    before = stack.execute("hello")
    assert stack.wait(before)["status"] == "completed"
    told = set_up(stack)
    assert all(f"added: {name} (Keyword)" in told for name in search.ALL)
    assert "added" not in set_up(stack), "a second time changes nothing"
    restart(stack)
    key = stack.execute("hello")
    assert stack.wait(key)["status"] == "completed"
    workflow, query = f"agent-execution-{key}", "KubiyaAgent = 'ops' AND KubiyaQueue = 'default'"
    query += " AND KubiyaOrganization = 'local' AND KubiyaStatus = 'completed'"
    wait_until(lambda: found(stack, query) == [workflow], 30, "Temporal's list has it")


def test_the_status_of_one_that_waits_for_a_person_is_current(stack: Stack) -> None:
    set_up(stack)
    restart(stack)
    agent = stack.agent("asks", skills=[{"name": "ask", "type": "ask_person"}])
    steps = [{"tools": [{"name": "ask_person", "arguments": {"question": "Which host?"}}]}, {"text": "Done."}]
    key = stack.execute("demo:script " + json.dumps(steps), agent=agent)
    workflow = f"agent-execution-{key}"
    stack.wait(key, "waiting_for_input")
    waits = "KubiyaAgent = 'asks' AND KubiyaStatus = 'waiting_for_input'"
    wait_until(lambda: found(stack, waits) == [workflow], 30, "it waits")
    stack.call("POST", f"/executions/{key}/cancel")
    wait_until(lambda: found(stack, f"WorkflowId = '{workflow}' AND KubiyaStatus = 'cancelled'") != [], 30, "it ended")


def test_an_attribute_that_was_removed_fails_no_run(stack: Stack) -> None:
    set_up(stack)
    restart(stack)
    assert stack.wait(stack.execute("hello"))["status"] == "completed"
    take_away(stack)
    assert stack.wait(stack.execute("hello"))["status"] == "completed"
