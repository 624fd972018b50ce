"""This module reads the failures of activities and of child workflows: the cause, its kind, and what to do. No I/O."""

from __future__ import annotations

from typing import Any, Final

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    FailureError,
    TimeoutError,
    TimeoutType,
)

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names

# How the failure of a local activity arrives: bare, where that of any other one is the cause of an ActivityError.
LOCAL_FAILURE: Final = (ActivityError, ApplicationError, TimeoutError)


def cause_of(error: FailureError) -> str:
    """Return why an activity or a member's run failed, in words for a person."""
    cause = _cause(error)
    if undecrypted(error) and isinstance(cause, ApplicationError):
        cause = cause.cause
    if isinstance(cause, TimeoutError):
        return "its worker was lost, or it took longer than it may"
    return str(getattr(cause, "message", None) or cause or error)


def kind_of(error: FailureError) -> str | None:
    """Return the type of an activity's failure, as the code that raised it named it."""
    cause = _cause(error)
    return cause.type if isinstance(cause, ApplicationError) else None


def usage_of(error: FailureError) -> ex.Usage:
    """Return the usage of a model call that failed."""
    details = getattr(_cause(error), "details", ())
    return ex.Usage.parse(details[0]) if details and isinstance(details[0], dict) else ex.Usage()


def usage_before(error: FailureError) -> ex.Usage:
    """Return the usage of the attempts before the one that no worker has taken."""
    details = getattr(_cause(error), "last_heartbeat_details", ())
    return ex.Usage.parse(details[0]) if details and isinstance(details[0], dict) else ex.Usage()


def advice(error: FailureError) -> dict[str, Any]:
    """Return what the workflow can do about a model call that failed: {window?: tokens, shorten?: true}."""
    details: Any = getattr(_cause(error), "details", ())
    return details[1] if len(details) > 1 and isinstance(details[1], dict) else {}


def refused(error: FailureError) -> bool:
    """Return True when a retry is useless because the other side said no. Silence and time limits do not count."""
    cause = _cause(error)
    return isinstance(cause, ApplicationError) and cause.non_retryable


def never_started(error: FailureError) -> bool:
    """Return True when no worker has taken the activity, or its next attempt, in the time that it had for that."""
    cause = _cause(error)
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START


def undecrypted(error: FailureError) -> bool:
    """Return True when the worker could not decrypt the input for lack of the key. The tool never ran."""
    inner = getattr(_cause(error), "cause", None)
    return isinstance(inner, ApplicationError) and inner.type in names.UNREADABLE


def _cause(error: FailureError) -> BaseException | None:
    return error.cause if isinstance(error, ActivityError | ChildWorkflowError) else error
