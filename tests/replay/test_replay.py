"""D7: the histories of every released version replay with the workflow code that is here.

A history that does not replay is an execution that hangs after an upgrade. When this test fails, put the change behind
`workflow.patched("…")`; do not record the histories anew. `scripts/record-histories` adds a new version's.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from kubiya_worker.process.replay import fault_of
from kubiya_worker.protocol import names
from kubiya_worker.workflows import continuation
from kubiya_worker.workflows.agent import AgentExecutionWorkflow
from kubiya_worker.workflows.registry import WORKFLOWS

# No watch for deadlocks: it interrupts a task that got no processor for 2 s wherever that is, in a finalizer too, and
# what is raised there fails the test whose turn it is.
UNWATCHED = True
OF_TYPE = {workflow._Definition.must_from_class(kind).name: kind for kind in WORKFLOWS}
HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/*.json"))
SHAPES = {
    "plain",
    "tools",
    "approved",
    "denied",
    "expired",
    "chat",
    "cancelled",
    "failed",
    "raised",
    "compacted",
    "continued-1",
    "continued-2",
    "trimmed-1",
    "trimmed-2",
    "team-coordinate",
    "team-route",
    "team-collaborate",
    "team-sequential",
    "member",
    "member-approved",
    "dynamic",
    "asking",
    "asked",
    "scheduled",
    "scheduled-team",
    "scheduled-gone",
}


def load(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(f"replay-{path.stem}", json.loads(path.read_text()))


def test_every_shape_of_a_run_was_recorded() -> None:
    versions = {path.parent for path in HISTORIES}
    assert versions
    for version in versions:
        assert {path.stem for path in version.glob("*.json")} >= SHAPES, version


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_recorded_history_replays(path: Path) -> None:
    history = load(path)
    kind = OF_TYPE[history.events[0].workflow_execution_started_event_attributes.workflow_type.name]
    # With that workflow alone: each replay loads all it is given into the sandbox, twice the CPU time of the replay.
    assert await fault_of(Replayer(workflows=[kind], debug_mode=UNWATCHED), history) is None


def test_no_history_holds_a_secret() -> None:
    for path in HISTORIES:
        assert "kby_" not in path.read_text(), path


@workflow.defn(name=names.AGENT_WORKFLOW)
class Starved(AgentExecutionWorkflow):
    """The same workflow on a host that gives it no CPU time for a while."""

    times = 0

    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        if Starved.times > 0:
            Starved.times -= 1
            for _ in range(6_000):  # until the watch for deadlocks interrupts it, which may be late itself
                time.sleep(0.01)
        return await super().run(raw)


@pytest.mark.parametrize(("times", "fault"), [(1, False), (9, True)])
async def test_a_busy_host_is_no_fault_of_a_history(times: int, fault: bool) -> None:
    path = next(path for path in HISTORIES if path.stem == "plain")
    Starved.times = times
    found = await fault_of(Replayer(workflows=[Starved], workflow_runner=UnsandboxedWorkflowRunner()), load(path))
    assert ("deadlock" in found if found else False) == fault


@workflow.defn(name=names.AGENT_WORKFLOW)
class Changed(AgentExecutionWorkflow):
    """The same workflow, which sleeps before it begins: what an unguarded change looks like."""

    @workflow.run
    async def run(self, raw: dict[str, Any]) -> dict[str, Any]:
        await workflow.sleep(1)
        return await super().run(raw)


@pytest.mark.parametrize("shape", ["plain", "tools", "continued-2"])
async def test_a_changed_workflow_is_refused(shape: str) -> None:
    path = next(path for path in HISTORIES if path.stem == shape)
    runner = UnsandboxedWorkflowRunner()
    replayer = Replayer(workflows=[Changed], workflow_runner=runner, debug_mode=UNWATCHED)
    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(load(path))


async def test_a_conversation_that_was_refused_as_too_long_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was recorded before such a conversation was summarised first, by a worker that carries only 60 kB."""
    path = Path(__file__).parent / "too_long" / "refused.json"
    monkeypatch.setattr(continuation, "RESUME_BYTES", 60_000)
    assert "too long to go on" in path.read_text()
    assert await fault_of(Replayer(workflows=WORKFLOWS, debug_mode=UNWATCHED), load(path)) is None


async def test_a_look_on_the_wrong_host_replays() -> None:
    """It was recorded when such a look ended the wait, before the workflow made it again on the command's host."""
    path = Path(__file__).parent / "long_waits" / "other-host.json"
    told = load(path).events[39].activity_task_completed_event_attributes.result.payloads[0].data
    assert b"This execution has no commands on two" in told
    assert await fault_of(Replayer(workflows=WORKFLOWS, debug_mode=UNWATCHED), load(path)) is None
