"""A follow-up that was taken takes place once, whatever dies between the reply and the start of the workflow."""

from __future__ import annotations

import asyncio
import signal

import pytest
from temporalio.client import Client

from tests.support.demo_scripts import script
from tests.support.stack import Stack


async def runs(stack: Stack, execution: str) -> int:
    client = await Client.connect(stack.temporal_address)
    query = f"WorkflowId = 'agent-execution-{execution}'"
    return len([each async for each in client.list_workflows(query)])


@pytest.mark.timeout(180)
def test_a_follow_up_survives_a_killed_control_plane_and_starts_once(stack: Stack) -> None:
    stack.worker()
    stack.agent("agent")
    execution = stack.execute(script({"text": "One."}), agent="agent")
    assert stack.wait(execution)["status"] == "completed"
    path, body = f"/executions/{execution}/message", {"message": script({"text": "Two."}), "message_id": "m-2"}

    assert stack.temporal is not None and stack.server is not None
    stack.temporal.freeze()  # the reply does not wait for Temporal, and the start cannot leave
    stack.call("POST", path, body, 202)
    stack.server.kill()
    stack.temporal.signal(signal.SIGCONT)
    stack.start_server()
    stack.call("POST", path, body, 202)  # the client has not seen the reply
    (*_, last) = stack.events(execution)
    assert (last["data"]["status"], last["data"]["response"]) == ("completed", "Two.")
    assert asyncio.run(runs(stack, execution)) == 2

    # Killed after Temporal has the start, before that is noted: the start is sent again, and is known.
    third = {"message": script({"text": "Three.", "delay_ms": 1}), "message_id": "m-3"}
    stack.call("POST", path, third, 202)
    stack.server.kill()
    stack.start_server()
    (*_, last) = stack.events(execution)
    assert (last["data"]["status"], last["data"]["response"]) == ("completed", "Three.")
    assert asyncio.run(runs(stack, execution)) == 3
    said = [m["content"] for m in stack.call("GET", f"/executions/{execution}/session")["messages"]]
    assert [text for text in said if text in ("One.", "Two.", "Three.")] == ["One.", "Two.", "Three."]
