"""A real run that nears the end of its budget is told of, while it waits and before it ends."""

from __future__ import annotations

import json
import uuid

from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}}


def test_a_run_is_told_of_at_four_of_five_model_calls(stack: Stack) -> None:
    """The figures of its own events are enough; the fifth call is never made, as the tool before it waits."""
    mark = uuid.uuid4().hex[:8]
    channel = {"type": "ntfy", "url": "https://ntfy.example.com", "topic": f"budget-{mark}"}
    agent = stack.agent(f"spender-{mark}", skills=[SHELL], configuration={"budgets": {"max_steps": 5}})
    events = ["budget_near_end"]
    filters = {"agents": [agent]}
    made = stack.call(
        "POST", "/notifications", {"name": mark, "channel": channel, "events": events, "filters": filters}
    )
    rule = {"name": mark, "scope_type": "tool", "scope_value": "shell", "argument_pattern": f"echo {mark}"}
    stack.call("POST", "/approval-rules", rule)
    moves = [{"tools": [{"name": "shell", "arguments": {"command": "echo look"}}]} for _ in range(3)]
    asks = {"tools": [{"name": "shell", "arguments": {"command": f"echo {mark}"}}]}
    execution = stack.execute(f"demo:script {json.dumps([*moves, asks, {'text': 'Done.'}])}", agent=agent)
    path = f"/notifications/{made['id']}"
    try:
        stack.first(execution, "approval_requested")
        assert stack.execution(execution)["status"] not in ("completed", "failed")
        wait_until(lambda: stack.call("GET", f"{path}/deliveries"), 30, "the budget is told of")
        (told,) = stack.call("GET", f"{path}/deliveries")
        assert (told["event"], told["title"]) == (
            "budget_near_end",
            f"A run of spender-{mark} has used 80 % of its budget",
        )
    finally:
        stack.call("POST", f"/executions/{execution}/cancel", {})
        stack.call("DELETE", path)
        stack.call("DELETE", f"/approval-rules/{mark}")
