"""Agents on the published control plane: every row, the API and the stream say the same (W1)."""

from __future__ import annotations

import json

from tests.support.published_stack import PublishedStack


def script(*steps: dict[str, object]) -> str:
    return "demo:script " + json.dumps(steps)


def test_a_text_is_told_by_row_session_and_stream(stack: PublishedStack) -> None:
    execution_id = stack.execute(script({"text": "All is well."}))
    seen = list(stack.watch(execution_id))
    row = stack.end(execution_id)
    assert stack.closed(execution_id) == "COMPLETED"
    assert (row["status"], row["response"], row["error_message"]) == ("completed", "All is well.", None)
    assert seen[-1]["event"] == "done"
    assert (seen[-1]["data"]["status"], seen[-1]["data"]["response"]) == ("completed", "All is well.")
    messages = stack.world.sessions[execution_id]["messages"]
    assert [m["content"] for m in messages if m["role"] == "assistant"] == ["All is well."]
