"""The published control plane goes away, and the worker is killed: nothing is lost and nothing is told twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.contract.e2e.outcome_checks import SHELL, WatchedRun, check, mine, of
from tests.support.demo_scripts import script
from tests.support.published_stack import PublishedStack


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedStack]:
    """A stack of its own: what is done to it would be done to other tests too."""
    with PublishedStack(tmp_path_factory.mktemp("alone")) as running:
        running.world.longest = 60.0
        yield running


@pytest.mark.parametrize("kind", ["refused", "503"])
def test_an_outage_in_the_middle_of_a_run(stack: PublishedStack, kind: str) -> None:
    agent = stack.agent("outage", skills=[SHELL])
    steps = [{"text": "Before.", **mine("sleep 1")}, {"text": "During."}]
    execution_id = stack.execute(script(*steps), agent=agent)
    stack.plane.expect("POST", f"/executions/{execution_id}/events", 4)
    with stack.plane.outage(kind):
        time.sleep(3)  # how long it is away
    at = time.monotonic()
    row = stack.wait(execution_id, "completed")
    assert row["response"] == "During."
    assert time.monotonic() - at < 15, "the last word does not come with the recovery"
    check(stack, WatchedRun(stack, execution_id), "completed", response="During.", optional=False)


@pytest.mark.slow
def test_a_worker_that_is_killed(alone: PublishedStack) -> None:
    first = alone.worker()
    agent = alone.agent("killed", skills=[SHELL])
    steps = [{"text": "Before.", **mine("echo once >> ../count; sleep 1")}, {"text": "After.", "delay_ms": 300}]
    run = WatchedRun(alone, alone.execute(script(*steps), agent=agent))
    run.first("tool_completed")
    first.signal(signal.SIGKILL)
    alone.worker()
    row = alone.wait(run.id, "completed", timeout=90)
    assert row["response"] == "After."
    alone.end(run.id)
    late = list(alone.watch(run.id))
    answers = [m["content"] for m in of(late, "message") if m["role"] == "assistant"]
    assert answers == ["Before.", "After."]
    assert late[-1]["event"] == "done"
