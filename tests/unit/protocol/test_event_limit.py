"""Runs of any length fit into the events that the published stream shows."""

from __future__ import annotations

import pytest

from kubiya_worker.protocol import event_limit
from kubiya_worker.protocol import events as ev


def run(steps: int, tools: int) -> tuple[int, list[int]]:
    """Events of a run whose answers use all the chunks they may, and the chunks of each."""
    used, chunks = event_limit.BEGIN, []
    for _ in range(steps):
        sparing = event_limit.level(used)
        chunks.append(event_limit.allowed_chunks(used))
        used += chunks[-1]
        said = ev.event("m", ev.MESSAGE, {"content": "", "message_id": "m"})
        used += event_limit.is_sent(said, sparing)
        for _ in range(tools):
            used += sum(
                event_limit.is_sent(ev.event("t", kind, {}), event_limit.level(used))
                for kind in (ev.TOOL_STARTED, ev.TOOL_COMPLETED)
            )
    return used, chunks


@pytest.mark.parametrize(("steps", "tools"), [(1, 0), (30, 1), (250, 1), (100, 5), (2_000, 1)])
def test_a_run_of_any_length_leaves_room_for_its_last_words(steps: int, tools: int) -> None:
    used, chunks = run(steps, tools)
    assert used < event_limit.LIMIT - 50
    assert chunks == sorted(chunks, reverse=True)
    assert chunks[0] >= 50


def test_questions_and_the_failure_are_always_sent() -> None:
    for kind in (ev.APPROVAL_REQUESTED, ev.ERROR):
        assert all(event_limit.is_sent(ev.event("e", kind, {}), level) for level in range(5))
