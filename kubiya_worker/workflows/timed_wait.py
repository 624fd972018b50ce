"""This module waits for a condition of a workflow with a limit of time."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow


async def until(condition: Callable[[], bool], limit: timedelta | float) -> bool:
    """Wait until the condition holds, and return True. Return False when the limit (seconds) is over first."""
    try:
        await workflow.wait_condition(condition, timeout=limit)
    except builtins.TimeoutError:
        return False
    return True
