"""This module cancels what still runs at the end of a stop's grace period, in the way Temporal's library would.

The library takes the grace period when its worker is made, and nobody knows then whether a stop or a drain (which has
no grace period) will end it. So the library is given a year (`assembly.UNLIMITED`), and the cancellation is done here:
activities in the loop and in threads are cancelled with the reason "worker shutdown", and reported as failures that
the next worker tries again. Local activities are left alone, as the library does: their workflow must not see a
cancellation that nobody asked for.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from temporalio import activity
from temporalio.bridge.proto.activity_task import ActivityCancellationDetails, ActivityCancelReason, Cancel
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from kubiya_worker.process.worker_pair import WorkerPair

log = structlog.get_logger()

# This is the library's own text, word for word: people search for it, and retry policies may name its type.
SHUTDOWN: Final = "WorkerShutdown"
TEXT: Final = "Worker is shutting down and this activity did not complete in time"


class GraceExpiry(Interceptor):
    """The outermost interceptor of a worker, which cancels its steps; `steps` counts the cancelled ones."""

    def __init__(self) -> None:
        self.steps = 0
        self._expired = False
        self._tokens: set[bytes] = set()

    def cancel_steps(self, pair: WorkerPair) -> None:
        """Cancel all steps that run; call this from the workers' event loop."""
        self._expired = True
        for worker in pair.workers:
            try:
                inner = worker._activity_worker
                assert inner is not None
                for token, each in list(inner._running_activities.items()):
                    # A step that was cancelled before keeps its own reason.
                    if each.info and not each.info.is_local and not each.done and not each.cancellation_details.details:
                        self._tokens.add(token)
                        inner._handle_cancel_activity_task(token, _cancel())
            except AttributeError as error:  # private parts of the library, which may change
                log.error("worker.not_cancelled", error=str(error))
        self.steps = len(self._tokens)

    def cancelled(self, token: bytes) -> bool:
        return token in self._tokens

    @property
    def expired(self) -> bool:
        return self._expired

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, expiry: GraceExpiry) -> None:
        super().__init__(next)
        self._expiry = expiry

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        if self._expiry.expired and not info.is_local:  # the step's arguments still arrived when the cancellation came
            raise _failure()
        try:
            return await super().execute_activity(input)
        except (asyncio.CancelledError, CancelledError):
            # Temporal refuses a cancellation that nobody asked for, and the step would then end only by its timeout.
            if self._expiry.cancelled(info.task_token):
                raise _failure() from None
            raise


def unfinished(pair: WorkerPair) -> int | None:
    """Return the number of steps that run or are not yet reported to Temporal.

    Return None when the library does not say.
    """
    try:
        inner = [each._activity_worker for each in pair.workers]
        return sum(len(each._running_activities) for each in inner if each)
    except AttributeError:  # private parts of the library, which may change
        return None


def _failure() -> ApplicationError:
    # Benign: the library then logs no traceback.
    return ApplicationError(TEXT, type=SHUTDOWN, category=ApplicationErrorCategory.BENIGN)


def _cancel() -> Cancel:
    return Cancel(
        reason=ActivityCancelReason.WORKER_SHUTDOWN, details=ActivityCancellationDetails(is_worker_shutdown=True)
    )
