"""This module starts the child workflow of a member's run, and waits for its end or for its limit of time."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ChildWorkflowError, FailureError, is_cancelled_exception
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from kubiya_worker.protocol import names
from kubiya_worker.workflows import activity_failures, timed_wait
from kubiya_worker.workflows.member_runs import MemberRun

Child = workflow.ChildWorkflowHandle[Any, Any]


async def start(run: MemberRun, kind: str, raw: dict[str, Any], queue: str | None) -> Child | str:
    """Start the workflow and return its handle, or the text for the leader when it could not be started."""
    try:
        return await workflow.start_child_workflow(
            names.TEAM_WORKFLOW if kind == "team" else names.AGENT_WORKFLOW,
            raw,
            id=run.workflow_id,
            task_queue=queue,
            cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            parent_close_policy=ParentClosePolicy.TERMINATE,
        )
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        return f"{run.name} could not be started: {error}"


async def stopped_at_limit(run: MemberRun, child: Child) -> bool:
    """Wait until the workflow has ended, and return False; stop it at its limit of time, and return True."""
    try:
        while not child.done():
            left = run.limit - run.clock.worked(workflow.time())
            if left <= 0:
                break
            await timed_wait.until(child.done, left)  # afterwards it is late, unless people were waited for meanwhile
    except asyncio.CancelledError:
        child.cancel()
        await asyncio.wait([child])
        raise
    if child.done():
        return False
    child.cancel()
    await asyncio.wait([child])
    return True


def result_of(run: MemberRun, child: Child) -> dict[str, Any] | str:
    """Return the result of a workflow that has ended, or the text for the leader when it has none."""
    try:
        result: dict[str, Any] = child.result()
        return result
    except (ChildWorkflowError, asyncio.CancelledError) as error:
        why = activity_failures.cause_of(error) if isinstance(error, ChildWorkflowError) else "it was cancelled"
        return f"{run.name} failed: {why}"
