"""Send signals to other workflows."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception


async def send(workflow_id: str, name: str, argument: Any = None) -> bool:
    """Send a signal. Return False when the workflow has ended. Signals arrive once and in order."""
    handle = workflow.get_external_workflow_handle(workflow_id)
    try:
        await (handle.signal(name) if argument is None else handle.signal(name, argument))
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        return False
    return True
