"""Redaction of an activity's error and its causes, before the failure becomes part of the history.

The text of an error can hold secrets: a provider repeats the key that it refuses, a client names an address with a
password. Temporal keeps all of it, cause by cause.
"""

from __future__ import annotations

from typing import Any

from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.tools.redaction import AT_WORK, Redactor


class Scrub(Interceptor):
    """The interceptor that redacts errors. It has to be the outermost one."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Scrubbing(next, self._runtime)


class _Scrubbing(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, runtime: Runtime) -> None:
        super().__init__(next)
        self._runtime = runtime

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        given = input.args[0] if input.args else None
        execution_id = str(getattr(getattr(given, "call", given), "execution_id", ""))
        AT_WORK.set(self._runtime.redactor_of(execution_id))
        try:
            return await super().execute_activity(input)
        except Exception as error:
            clean = scrubbed(error, self._runtime.redactor_of(execution_id))
            if clean is error:
                raise
            raise clean from None


def scrubbed(error: Exception, redactor: Redactor) -> Exception:
    """Return the error itself if neither it nor a cause holds a secret, else a redacted copy. Does no I/O."""
    if not any(redactor.text(text) != text for text in map(str, _chain(error))):
        return error
    if isinstance(error, ApplicationError):
        return ApplicationError(
            redactor.text(error.message),
            *redactor.value(list(error.details)),
            type=error.type,
            non_retryable=error.non_retryable,
            next_retry_delay=error.next_retry_delay,
            category=error.category,
        )
    kind = type(error.cause if isinstance(error, FailureError) and error.cause else error).__name__
    return ApplicationError(redactor.text(str(error)), type=kind)


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and the causes that Temporal would keep."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return chain
