"""Names that histories hold: a run that another version of the worker began goes on by them."""

from __future__ import annotations

import re
from pathlib import Path

from temporalio import workflow

from kubiya_worker import workflows
from kubiya_worker.workflows.execution import Execution
from kubiya_worker.workflows.registry import WORKFLOWS

PATCHES = {
    "await-approval",
    "fail-when-cancelled",
    "fail-when-failed",
    "pause-before-tools",
    "tell-before-members",
    "tell-invalid-input",
    "trim",
}
SIGNALS = {
    "add_message",
    "command_ended",
    "mark_as_done",
    "pause_execution",
    "resume_execution",
    "resolve_approval",
    "team_permit",
    "team_spend",
    "team_member_waits",
}
QUERIES = {"get_state", "get_context", "get_transcript", "get_unconfirmed"}


def test_no_name_of_a_patch_was_changed() -> None:
    sources = Path(workflows.__path__[0]).glob("*.py")
    found = {name for path in sources for name in re.findall(r'workflow\.patched\("([^"]+)"\)', path.read_text())}
    assert found >= PATCHES


def test_each_workflow_of_an_execution_takes_every_signal_and_query() -> None:
    executions = [kind for kind in WORKFLOWS if issubclass(kind, Execution)]
    assert len(executions) == 3
    for kind in executions:
        assert kind.__bases__ == (Execution,), "a workflow type adds `run`; what it does differently is given to it"
        definition = workflow._Definition.must_from_class(kind)
        assert set(definition.signals) == SIGNALS
        assert set(definition.queries) == QUERIES
