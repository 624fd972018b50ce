"""No optional route of the published control plane holds up or fails a run, whatever it answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.contract.e2e.outcome_checks import WatchedRun, check, shell
from tests.support.demo_scripts import script
from tests.support.published_stack import PublishedStack

STEPS = script({"text": "First.", **shell("echo one")}, {"text": "Done."})


@pytest.fixture(autouse=True)
def restored(stack: PublishedStack) -> Iterator[None]:
    yield
    stack.plane.fault = ""
    stack.plane.faults = {}


@pytest.mark.parametrize("fault", ["500", "404", "422"])
def test_all_of_them_refuse(stack: PublishedStack, fault: str) -> None:
    stack.plane.fault = fault
    runs = [WatchedRun(stack, stack.execute(STEPS)) for _ in range(2)]
    for run in runs:
        check(stack, run, "completed", response="Done.", optional=False)


@pytest.mark.slow
def test_none_of_them_answers(stack: PublishedStack) -> None:
    at = time.monotonic()
    stack.plane.fault = "hang"
    run = WatchedRun(stack, stack.execute(STEPS))
    row = stack.wait(run.id, "completed", timeout=100)
    assert row["response"] == "Done."
    assert stack.closed(run.id) == "COMPLETED"
    assert time.monotonic() - at < 100


def test_a_chat_goes_on_without_analytics(stack: PublishedStack) -> None:
    stack.plane.faults = {"/analytics/": "500"}
    run = WatchedRun(stack, stack.chat(script({"text": "What next?"})))
    stack.wait(run.id, "waiting_for_input")
    stack.call("POST", f"/executions/{run.id}/message", {"message": script({"text": "And on."})}, 202)
    run.first("message", where=lambda m: m["content"] == "And on.")
    stack.wait(run.id, "waiting_for_input")
    stack.call("POST", f"/executions/{run.id}/mark-done", status=202)
    check(stack, run, "completed", response="And on.", optional=False)
