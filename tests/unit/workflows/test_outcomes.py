"""What is said of an activity that has no result."""

from __future__ import annotations

from temporalio.api.enums.v1 import RetryState
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import outcomes


def failed(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "Activity task failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="report",
        activity_id="1",
        retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,  # type: ignore[arg-type]
    )
    error.__cause__ = cause
    return error


REQUEST = calls.ToolInput("e1", "c1", "shell", "m1", 1)
LOST = TimeoutError("heartbeat timeout", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])


def test_only_an_answer_is_a_refusal() -> None:
    assert outcomes.refused(failed(ApplicationError("403", non_retryable=True)))
    assert not outcomes.refused(failed(ApplicationError("connection refused")))
    assert not outcomes.refused(failed(LOST))


def test_a_tool_whose_worker_was_lost_has_an_unknown_outcome() -> None:
    assert outcomes.lost(REQUEST, failed(LOST))[0] == m.TOOL_UNKNOWN
    status, text = outcomes.lost(REQUEST, failed(ApplicationError("no such folder")))
    assert (status, text) == (m.TOOL_FAILED, "shell could not be run: no such folder")
