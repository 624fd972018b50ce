"""Calls of the control plane that are made until they succeed, through an outage of any length."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from kubiya_worker.protocol import calls, names
from kubiya_worker.workflows import activity_failures, options


async def call(
    name: str, argument: Any, execution_id: str, *, stream: str = "", result_type: type | None = None
) -> Any:
    """Run a local activity until it succeeds. Raise the failure when it is refused or cancelled.

    After a few quick tries the workflow waits for the control plane (activities/outage.py), and tries again as soon as
    it answers. No history before this had the failure of such a call, so none replays differently.
    """
    failures = 0
    while True:
        try:
            return await workflow.execute_local_activity(name, argument, result_type=result_type, **options.LOCAL_BRIEF)
        except activity_failures.LOCAL_FAILURE as error:
            if is_cancelled_exception(error) or activity_failures.refused(error):
                raise
        failures += 1
        outage = calls.Outage(execution_id, stream, failures)
        try:
            await workflow.execute_activity(names.AWAIT_CONTROL_PLANE, outage, **options.OUTAGE_WAIT)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # The wait reached its time limit. The next try of the call tells the cause.
