"""Call the control plane from an activity: a failure becomes one that Temporal's retry policy understands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio.exceptions import ApplicationError

from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.spool import Spool

T = TypeVar("T")


async def ask(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call the control plane in a thread. Raise ApplicationError, retryable as Temporal's policy needs it."""
    return await as_fault(asyncio.to_thread(call, *args, **kwargs))


async def as_fault(work: Awaitable[T]) -> T:
    try:
        return await work
    except ControlPlaneError as error:
        raise ApplicationError(error.line(), type=type(error).__name__, non_retryable=not error.retryable) from error


def require_sent(spool: Spool, stream: str) -> None:
    """Raise a retryable ApplicationError while events of the stream wait on disk, as an end must come after them."""
    if spool.holds(stream):
        spool.hurry()
        raise ApplicationError("Events of the execution still wait on disk for the control plane", type="EventsWait")
