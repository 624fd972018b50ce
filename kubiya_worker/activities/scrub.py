"""The last gate before a failure becomes history: an activity's error leaves without secrets, its causes included.

What an error says comes from everywhere: a provider that repeats the key it refuses, a client with a password in its
address. Temporal keeps all of it, cause by cause.
"""

from __future__ import annotations

from typing import Any

from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.tools.redact import AT_WORK, Redactor


class Scrub(Interceptor):
    """Has to be the outermost interceptor."""

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
    """The error itself when nothing in it or its causes is secret; else one that says the same without. Pure."""
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
    """The error and what Temporal would keep as its causes."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    return chain
