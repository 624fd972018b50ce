"""Failures of activities, as they arrive: wrapped, or bare from a local one."""

from __future__ import annotations

import pytest
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, TimeoutError, TimeoutType

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import activity_failures, outcomes


def wrapped(cause: FailureError) -> ActivityError:
    error = ActivityError(
        "failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="w",
        activity_type="report",
        activity_id="1",
        retry_state=None,
    )
    error.__cause__ = cause
    return error


REFUSED = ApplicationError("no such execution", type="Refused", non_retryable=True)
AWAY = ApplicationError("cannot be reached", type="Unreachable")
SLOW = TimeoutError("too slow", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])


@pytest.mark.parametrize("wrap", [wrapped, lambda error: error])
def test_a_failure_means_the_same_wrapped_or_bare(wrap: object) -> None:
    assert callable(wrap)
    assert [activity_failures.refused(wrap(e)) for e in (REFUSED, AWAY, SLOW)] == [True, False, False]
    assert activity_failures.cause_of(wrap(REFUSED)) == "no such execution"
    assert "longer than it may" in activity_failures.cause_of(wrap(SLOW))
    assert all(isinstance(wrap(e), activity_failures.LOCAL_FAILURE) for e in (REFUSED, AWAY, SLOW))


def test_a_tool_that_was_run_is_never_said_not_to_have_been() -> None:
    request = calls.ToolInput("e", "c", "shell", message_id="m", step=1)
    status, text = outcomes.of_lost_call(request, wrapped(ApplicationError("no space left", type="NotStored")))
    assert status == m.TOOL_UNKNOWN
    assert "shell was run" in text and "no space left" in text and "not run again" in text
    status, text = outcomes.of_lost_call(request, wrapped(ApplicationError("a bug", type="KeyError")))
    assert (status, text) == (m.TOOL_FAILED, "shell could not be run: a bug")


def test_only_an_activity_that_nobody_took_never_started() -> None:
    untaken = TimeoutError("x", type=TimeoutType.SCHEDULE_TO_START, last_heartbeat_details=[{"input_tokens": 7}])
    assert activity_failures.never_started(wrapped(untaken))
    assert activity_failures.usage_before(wrapped(untaken)).input_tokens == 7
    silent = TimeoutError("x", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[{"input_tokens": 7}])
    for error in (SLOW, silent, AWAY, REFUSED):
        assert not activity_failures.never_started(wrapped(error))
    assert activity_failures.usage_before(wrapped(SLOW)).total_tokens == 0
