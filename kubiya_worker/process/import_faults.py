"""This module notices that a package was replaced under the running worker: a step cannot import what it needs.

That is a passing fault: the step is tried again, by another worker or by this one after its restart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from kubiya_worker.protocol import names

log = structlog.get_logger()

REMEDY = "Restart the worker: the packages that it runs from were changed"


class ImportFaults(Interceptor):
    """The import errors of this worker's steps. `on_first` is called once, on the event loop."""

    def __init__(self) -> None:
        self.text = ""  # of the first one; empty: there was none
        self.on_first: Callable[[], None] = lambda: None

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Watching(next, self)

    def note(self, error: ImportError) -> None:
        if not self.text:
            self.text = f"{type(error).__name__}: {error}"
            log.error("worker.must_restart", error=self.text, remedy=REMEDY)
            self.on_first()


class _Watching(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, faults: ImportFaults) -> None:
        super().__init__(next)
        self._faults = faults

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except ApplicationError as error:
            if isinstance(error.__cause__, ImportError):  # of a tool call that had begun
                self._faults.note(error.__cause__)
            raise
        except ImportError as error:
            if activity.info().activity_type not in names.OURS:  # an extension's own fault
                raise
            self._faults.note(error)
            raise ApplicationError(
                f"The worker has to be restarted: {type(error).__name__}: {error}", type=names.MUST_RESTART
            ) from error
