"""The cut at the end of a stop's grace period: what still runs is cancelled, as Temporal's library would do it.

The library takes the grace period when its worker is made, and nobody knows then whether a stop or a drain, which has
none, will end it. So it is given a year (`assembly.UNLIMITED`), and what it does when its time is up is done here:
activities are cancelled with the reason "worker shutdown", in the loop and in threads, and reported as failures that
are tried again by the next worker. Local activities are left alone, as by the library: their workflow must not hear of
a cancellation that nobody asked for.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from temporalio import activity
from temporalio.bridge.proto.activity_task import ActivityCancellationDetails, ActivityCancelReason, Cancel
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

log = structlog.get_logger()

# The library's own failure, word for word: people search for it, and retry policies may name its type.
SHUTDOWN: Final = "WorkerShutdown"
TEXT: Final = "Worker is shutting down and this activity did not complete in time"


class Cut(Interceptor):
    """The outermost interceptor of a worker. `number`: how many steps were cut off."""

    def __init__(self) -> None:
        self.number = 0
        self._made = False
        self._tokens: set[bytes] = set()

    def make(self, worker: Worker) -> None:
        """Cancels what runs. From the worker's event loop."""
        self._made = True
        try:
            inner = worker._activity_worker
            assert inner is not None
            for token, each in list(inner._running_activities.items()):
                # One that was cancelled before, by whoever asked for it, stays what it is.
                if each.info and not each.info.is_local and not each.done and not each.cancellation_details.details:
                    self._tokens.add(token)
                    inner._handle_cancel_activity_task(token, _cancel())
        except AttributeError as error:  # private parts of the library, which may change
            log.error("worker.not_cancelled", error=str(error))
        self.number = len(self._tokens)

    def took(self, token: bytes) -> bool:
        return token in self._tokens

    @property
    def made(self) -> bool:
        return self._made

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, cut: Cut) -> None:
        super().__init__(next)
        self._cut = cut

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        if self._cut.made and not info.is_local:  # its arguments were on their way when the time was up
            raise _failure()
        try:
            return await super().execute_activity(input)
        except (asyncio.CancelledError, CancelledError):
            # Reported as a cancellation, which the server refuses when nobody asked for it, it would only time out.
            if self._cut.took(info.task_token):
                raise _failure() from None
            raise


def unfinished(worker: Worker) -> int | None:
    """Steps that run, or whose end Temporal has not been told; None when the library does not say."""
    try:
        inner = worker._activity_worker
        return len(inner._running_activities) if inner else None
    except AttributeError:  # private parts of the library, which may change
        return None


def _failure() -> ApplicationError:
    return ApplicationError(TEXT, type=SHUTDOWN, category=ApplicationErrorCategory.BENIGN)  # benign: no traceback


def _cancel() -> Cancel:
    return Cancel(
        reason=ActivityCancelReason.WORKER_SHUTDOWN, details=ActivityCancellationDetails(is_worker_shutdown=True)
    )
