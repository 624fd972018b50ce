"""A conversation that is too long to be carried into a new run is summarised first, and pinned facts survive it."""

from __future__ import annotations

import json
from typing import Any

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
# A worker that carries 60 kB into a new run, and must begin one when its history has more.
SMALL = """
from temporalio import workflow
from kubiya_worker.workflows import continuation

continuation.RESUME_BYTES = 60_000
workflow.Info.is_continue_as_new_suggested = lambda info: info.get_current_history_size() > 60_000
"""
READ: dict[str, Any] = {
    "tools": [{"name": "shell", "arguments": {"command": "head -c 9000 /dev/urandom | base64 -w0"}}]
}
PINNED = "Pinned: the disk is /dev/sdq7, never format it"


def run(stack: Stack, name: str, **configuration: Any) -> tuple[dict[str, Any], str]:
    """Return the row of an execution that reads 90 kB of random text, and what the model was given last."""
    extension = stack.folder / f"{name}.py"
    extension.write_text(SMALL)
    summary = {"text": "A summary of it.", "when": "You summarise a conversation", "forever": True}
    steps = [{"text": PINNED, **READ}, *[READ] * 9, {"text": "The end."}]
    queue = stack.queue(name)
    with ModelEndpoint([summary, *steps]) as endpoint:
        stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test", KUBIYA_EXTENSIONS=str(extension))
        agent = stack.agent(name, skills=[SHELL], model_id="gpt-test", configuration=configuration)
        row = stack.wait(stack.execute("Find the needle.", agent=agent, queue=queue), timeout=120)
        return row, json.dumps(endpoint.requests[-1]["body"]["messages"])


def test_it_is_summarised_before_it_is_refused(stack: Stack) -> None:
    row, given = run(stack, "too-long")
    assert (row["status"], row["response"]) == ("completed", "The end."), row
    assert "A summary of it." in given and "Find the needle." in given
    assert PINNED.removeprefix("Pinned: ") in given


def test_it_is_refused_when_summaries_are_off(stack: Stack) -> None:
    row, _ = run(stack, "too-long-off", compaction=False)
    assert row["status"] == "failed" and "too long to go on" in str(row["error_message"]), row
