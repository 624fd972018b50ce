"""A member's question and its answer, in whichever order they reach the team's workflow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from temporalio import workflow

from kubiya_worker.protocol import names
from kubiya_worker.workflows import signals
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.background import BackgroundTasks
from kubiya_worker.workflows.team import TeamExecutionWorkflow

QUESTION = {"approval_id": "a-1", "workflow_id": "member-1", "request": {"approval_id": "a-1"}}
ANSWER = {"approval_id": "a-1", "decision": "approved", "approver": {"name": "ada"}}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """Collect what the workflow tells other workflows, without a workflow around it."""
    told: list[tuple[str, str, Any]] = []

    async def send(workflow_id: str, name: str, argument: Any = None) -> bool:
        told.append((workflow_id, name, argument))
        return True

    def start(_: BackgroundTasks, work: Coroutine[Any, Any, None]) -> None:
        with pytest.raises(StopIteration):
            work.send(None)

    async def nothing(*_: Any) -> None:
        pass

    monkeypatch.setattr(signals, "send", send)
    monkeypatch.setattr(workflow, "time", lambda: 0.0)
    monkeypatch.setattr(BackgroundTasks, "start", start)
    monkeypatch.setattr(Approvals, "show_member_waits", nothing)
    return told


@pytest.mark.parametrize("answer_first", [False, True])
def test_the_answer_reaches_the_member_that_asked(sent: list[tuple[str, str, Any]], answer_first: bool) -> None:
    """An inner team passes the question up by a signal of its own, so a fast person can be first."""
    team = TeamExecutionWorkflow()
    steps: list[Callable[[], None]] = [lambda: team.member_waits(QUESTION), lambda: team.resolve_approval(ANSWER)]
    for step in reversed(steps) if answer_first else steps:
        step()
    assert sent == [("member-1", names.RESOLVE_APPROVAL, ANSWER)]
