"""Billable actions: what one execution costs on Temporal Cloud, counted in real histories and on the worker's wire.

Counted as Temporal Cloud's documentation says: a start (and each continue-as-new), a regular activity's attempt, a
timer, a signal; all markers of one workflow task (local activities) together; and, which no history shows, each
heartbeat and each query that reached the server. Baseline: a bare workflow that makes the same calls.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable
from typing import Any

from scripts.bench.report import Row, Spread, main
from scripts.bench.rig import BARE_QUEUE, NOTE_STEP, Rig, Step, rig
from tests.support.demo_scripts import script
from tests.support.stack import free_port, wait_until

UNSEEN = ("RecordActivityTaskHeartbeat", "QueryWorkflow")  # requests of the worker that no history shows
SLOW = 10_000  # ms of a model call


def billable(events: Iterable[Any]) -> dict[str, int]:
    """Count the billable events of one run's history by kind."""
    found = {"start": 0, "activity": 0, "local activities": 0, "timer": 0, "signal": 0}
    marked = False
    for event in events:
        kind = event.WhichOneof("attributes").removesuffix("_event_attributes")
        if kind == "workflow_task_completed":
            marked = False
        elif kind == "marker_recorded" and not marked:
            marked = True
            found["local activities"] += 1
        elif kind in NAMES:
            found[NAMES[kind]] += 1
    return found


NAMES = {
    "workflow_execution_started": "start",
    "activity_task_started": "activity",
    "timer_started": "timer",
    "workflow_execution_signaled": "signal",
}


def measure(quick: bool) -> list[Row]:
    port = free_port()
    with rig() as bench:
        bench.start(KUBIYA_METRICS_PORT=str(port))
        delay = 200 if quick else SLOW
        done: Step = {"text": "Done."}
        slow: Step = {**done, "delay_ms": delay}
        shapes = (
            ("one model call", [done], "LRL"),
            ("two model calls and a tool call", [NOTE_STEP, done], "LRLRL"),
            ("eleven model calls and ten tool calls", [NOTE_STEP] * 10 + [done], "L" + "RL" * 10 + "R" + "L"),
            (f"one model call of {delay / 1000:g} s", [slow], "LRL"),
        )
        bench.run(bench.execute(script(done)))
        return [_row(bench, port, what, steps, bare) for what, steps, bare in shapes]


def _row(bench: Rig, port: int, what: str, steps: list[Step], bare: str) -> Row:
    before = _requests(port)
    execution = bench.run(_execute(bench, script(*steps)))
    ours = billable(bench.run(_history(bench, f"agent-execution-{execution}")))
    after = _requests(port)
    unseen = {name: after.get(name, 0) - before.get(name, 0) for name in UNSEEN}
    bench.run(bench.temporal.execute_workflow("Bare", bare, id=f"bare-{execution}", task_queue=BARE_QUEUE))
    base = billable(bench.run(_history(bench, f"bare-{execution}")))
    total = sum(ours.values()) + sum(unseen.values())
    more = {"kinds": {name: n for name, n in {**ours, **unseen}.items() if n}}
    same = "a bare workflow with the same calls"
    return Row("actions", what, "", Spread.of([total]), same, Spread.of([sum(base.values())]), more=more)


async def _execute(bench: Rig, prompt: str) -> str:
    execution = await bench.api.execute(bench.agent, bench.queue, prompt, str(bench.workspace))
    assert await bench.api.done(execution) == "completed"
    return execution


async def _history(bench: Rig, workflow_id: str) -> list[Any]:
    handle = bench.temporal.get_workflow_handle(workflow_id)
    await handle.result()
    return list((await handle.fetch_history()).events)


def _requests(port: int) -> dict[str, int]:
    """Return the number of the worker's requests to Temporal so far, by kind."""
    found: dict[str, int] = {}

    def read() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(("temporal_request{", "temporal_request_total{")):
                    labels, _, value = line.rpartition(" ")
                    name = labels.partition('operation="')[2].partition('"')[0]
                    found[name] = found.get(name, 0) + int(float(value))
        return bool(found)

    wait_until(read, 10, "the worker's metrics")
    return found


if __name__ == "__main__":
    main("actions", __doc__, measure)
