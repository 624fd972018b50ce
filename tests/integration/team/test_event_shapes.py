"""docs/reference/events.md is true: every event of real executions has the shape that its table says."""

from __future__ import annotations

import uuid
from typing import Any

from kubiya_worker.protocol import event_shapes
from kubiya_worker.protocol import events as ev
from tests.support.demo_scripts import script
from tests.support.stack import Stack

SKILLS = [
    {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}},
    {"name": "files", "type": "file_system", "configuration": {}},
]
NOT_SEEN_HERE = {
    ev.ERROR,  # for a hosted control plane only: ours tells a failure in `done`
    ev.RESET_CHUNKS,
    ev.NOTICE,
    ev.THINKING_START,
    ev.THINKING_DELTA,
    ev.THINKING_COMPLETE,
}  # need a model that fails, or thinks


def call(name: str, **arguments: str) -> dict[str, Any]:
    return {"text": "Looking.", "tools": [{"name": name, "arguments": arguments}]}


def test_events_of_real_executions_have_the_shapes_that_are_documented(stack: Stack) -> None:
    name = f"agent-{uuid.uuid4().hex[:6]}"
    agent = stack.agent(name, skills=SKILLS)
    saving = call("save_file", path="note.txt", content="hello")
    one = stack.execute(script(call("shell", command="echo hi"), saving, {"text": "Done."}), agent=agent)
    asked = stack.first(one, ev.APPROVAL_REQUESTED)
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {"remember": True})
    configuration = {"member_ids": [agent], "llm": {"model": "demo"}}
    team = stack.call("POST", "/teams", {"name": f"team-{name}", "configuration": configuration})["id"]
    task = script(call("shell", command="false"), {"text": "It failed."})
    body = {"prompt": script(call(f"ask_{name}", task=task), {"text": "Told."}), "worker_queue_id": "default"}
    two = stack.call("POST", f"/teams/{team}/execute", body)["execution_id"]
    events = [event for execution in (one, two) for event in stack.events(execution)]
    assert [p for event in events for p in event_shapes.problems(event["event"], event["data"])] == []
    made = {s.event_type for s in event_shapes.SHAPES if s.by not in (event_shapes.HOSTED, event_shapes.STREAM)}
    assert {e["event"] for e in events} == made - NOT_SEEN_HERE | set(ev.MEMBER_TYPES.values())
