"""Executions that run at the same time on one worker, and whose tool calls and events have the same ids."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.support.demo_scripts import script
from tests.support.stack import Stack, require_handled

LIST = {"text": "Looking.", "tools": [{"name": "list_files", "arguments": {}}]}
FILES = {"name": "files", "type": "file_system", "configuration": {}}


def test_none_takes_the_events_of_another_for_its_own(stack: Stack) -> None:
    queue = stack.queue("same-ids")
    worker = stack.worker(queue)
    agent = stack.agent("same-ids", skills=[FILES])
    prompt = script(LIST, LIST, {"text": "Done."})
    with ThreadPoolExecutor(12) as pool:
        executions = list(pool.map(lambda _: stack.execute(prompt, agent=agent, queue=queue), range(24)))
    told = []
    for execution in executions:
        assert stack.wait(execution, "completed", "failed")["status"] == "completed"
        told.append([event["event"] for event in stack.events(execution)])
    assert all(one == told[0] for one in told), "each stream has all events, in order"
    assert told[0].count("tool_completed") == 2
    require_handled([worker])
