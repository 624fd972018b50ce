"""The first workflow task of an agent's execution, by which a worker knows that the execution is about to begin."""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.protocol import names

_PREFIX: Final = names.workflow_id("agent", "")


def beginning(activation: Any) -> str | None:
    """Return the id of the execution that begins with this task; None for any other task.

    It is that of an agent's own run: a member of a team has a parent, and a run that continues as new has begun before.
    """
    if activation.is_replaying or not activation.jobs:
        return None
    job = activation.jobs[0]
    if job.WhichOneof("variant") != "initialize_workflow":
        return None
    first = job.initialize_workflow
    if first.workflow_type != names.AGENT_WORKFLOW or not first.workflow_id.startswith(_PREFIX):
        return None
    if first.HasField("parent_workflow_info") or first.continued_from_execution_run_id:
        return None
    return str(first.workflow_id.removeprefix(_PREFIX))
