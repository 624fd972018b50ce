"""The log line of a step that failed.

Temporal's SDK logs each failed activity with a traceback of 3 kB. A failure that a step has raised on purpose needs
none: its message says what happened and what to do. The traceback stays for any other exception, and at DEBUG.
"""

from __future__ import annotations

import logging
from typing import Final

from structlog.typing import EventDict, WrappedLogger

SDK: Final = logging.getLogger("temporalio.activity")
IDENTIFIER: Final = "__temporal_error_identifier"  # how the SDK marks its lines of failures
FAILURE: Final = "ActivityFailure"


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
        if not SDK.isEnabledFor(logging.DEBUG):
            event.pop("exc_info", None)
    return event
