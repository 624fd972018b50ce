"""Lines of Temporal's SDK, in the form of this log.

The SDK logs each failed activity with a traceback of 3 kB. A failure that a step has raised on purpose needs none: its
message says what happened and what to do. The traceback stays for any other exception, and at DEBUG.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from structlog.typing import EventDict, WrappedLogger

from kubiya_worker.temporal_connection.core_log import fields_of

SDK: Final = logging.getLogger("temporalio.activity")
IDENTIFIER: Final = "__temporal_error_identifier"  # how the SDK marks its lines of failures
FAILURE: Final = "ActivityFailure"
OWN: Final = frozenset({"seconds", "exc_info", "stack_info", "exception"})  # fields that this log writes in its own way


def failed_step(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Turn the SDK's line of a failed activity into `step.failed` with the step, the attempt and the error."""
    record = event.get("_record")
    if record is None or getattr(record, IDENTIFIER, "") != FAILURE:
        return event
    from temporalio.exceptions import ApplicationError  # logs begin before the SDK is loaded; this line is its own

    info = getattr(record, "temporal_activity", {})
    error = record.exc_info[1] if record.exc_info else None
    event["event"] = "step.failed"
    event["step"], event["attempt"] = info.get("activity_type", ""), info.get("attempt", 0)
    event["workflow"] = info.get("workflow_id", "")
    if isinstance(error, ApplicationError):
        event["type"], event["error"] = error.type or type(error).__name__, error.message
        if error.non_retryable:
            event["tried_again"] = "no"
    elif isinstance(error, asyncio.CancelledError):
        event["type"], event["error"] = "cancelled", _cancellation()
    else:
        return event
    if not SDK.isEnabledFor(logging.DEBUG):
        event.pop("exc_info", None)
    return event


def _cancellation() -> str:
    """Return why the step that logs was cancelled."""
    from temporalio import activity

    details = activity.cancellation_details() if activity.in_activity() else None
    if details is not None and (details.not_found or details.timed_out):
        return "Temporal has not heard of this attempt for too long, and may have given the step to another worker"
    return "The worker stops" if details is not None and details.worker_shutdown else "The step was cancelled"


def core_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Write the fields of a line of the SDK's core as those of other lines."""
    for name, value in fields_of(event.get("_record")).items():
        event.setdefault(f"core_{name}" if name in OWN else name, value)
    return event
