"""Options of each activity: time limits, retries, and the time until a dead worker is noticed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

# A worker sends heartbeats every 2 s; after this long without one its step goes to another worker (figure D2: 30 s).
HEARTBEAT_TIMEOUT: Final = timedelta(seconds=12)
MODEL_CALL_TIMEOUT: Final = timedelta(hours=1)  # one attempt; silence is noticed much sooner by the model layer
MODEL_ATTEMPTS: Final = 12  # with back-off to 30 s: rides out about four minutes of 429s or 5xx
TOOL_ATTEMPTS: Final = 3  # idempotent tools only
UNDECRYPTED_ATTEMPTS: Final = 20  # for a call whose worker lacks the key of its input; the tool has not begun
UNDECRYPTED_PAUSE: Final = timedelta(seconds=5)  # before the next of them
TOOL_MARGIN: Final = 30.0  # seconds beyond the tool's own limit: killing its processes, publishing its events

# Small, fast, idempotent calls to the control plane, tried until they succeed: nothing is lost while it is away.
# Beyond the threshold a retry waits by a timer of Temporal's: about six events a minute, so that an absence of days
# fits into a history. Below it the workflow task is kept alive, which costs more than twice that.
LOCAL: Final[dict[str, Any]] = {
    "start_to_close_timeout": timedelta(seconds=60),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=500), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=60)
    ),
    "local_retry_threshold": timedelta(seconds=5),
}
# The same, a few times in quick succession: then `durable_calls.call` waits for the control plane.
LOCAL_BRIEF: Final[dict[str, Any]] = {
    **LOCAL,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=250), backoff_coefficient=2.0, maximum_attempts=3
    ),
}
# The wait itself. It takes no slot; a worker that is lost meanwhile is noticed by its heartbeats.
OUTAGE_WAIT: Final[dict[str, Any]] = {
    "start_to_close_timeout": timedelta(days=10),
    "heartbeat_timeout": HEARTBEAT_TIMEOUT,
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5)),
}
# The same, once: the caller keeps what could not be delivered and goes on.
LOCAL_ONCE: Final[dict[str, Any]] = {**LOCAL, "retry_policy": RetryPolicy(maximum_attempts=1)}

MODEL: Final[dict[str, Any]] = {
    "start_to_close_timeout": MODEL_CALL_TIMEOUT,
    "heartbeat_timeout": HEARTBEAT_TIMEOUT,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1),
        backoff_coefficient=2.0,
        maximum_interval=timedelta(seconds=30),
        maximum_attempts=MODEL_ATTEMPTS,
    ),
    "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}

UNTAKEN: Final = timedelta(seconds=60)  # after which a step that nobody took on a queue beside the own one comes back


def of_model_queue(queue: str) -> dict[str, Any]:
    """Return the options of a model call on the queue that has no tools."""
    return {**MODEL, "task_queue": queue, "schedule_to_start_timeout": UNTAKEN}


def of_host(queue: str) -> dict[str, Any]:
    """Return what a tool call on the queue of one host has beside its own options."""
    return {"task_queue": queue, "schedule_to_start_timeout": UNTAKEN}


def of_host_probe(queue: str, seconds: float) -> dict[str, Any]:
    """Return the options of the activity that finds a worker of a host: any of them completes it at once."""
    return {
        "task_queue": queue,
        "start_to_close_timeout": timedelta(seconds=10),
        "schedule_to_close_timeout": timedelta(seconds=seconds + 1),  # the workflow's own limit comes first
        "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10)),
    }


# The packing of a long conversation takes seconds, and minutes on a busy host.
PACK: Final[dict[str, Any]] = {
    "start_to_close_timeout": timedelta(minutes=5),
    "heartbeat_timeout": HEARTBEAT_TIMEOUT,
    "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5),
}

LAST_LOOK: Final = timedelta(seconds=30)  # beyond the deadline of an approval: the last question for an answer


def approval_wait(every: float, left: timedelta) -> dict[str, Any]:
    """Return the options of an activity that fails until a person has answered. `every`: first pause in seconds."""
    return {
        "start_to_close_timeout": timedelta(seconds=60),
        "schedule_to_close_timeout": max(left, timedelta()) + LAST_LOOK,
        "retry_policy": RetryPolicy(
            initial_interval=timedelta(seconds=every),
            backoff_coefficient=1.2,
            maximum_interval=max(timedelta(seconds=30), timedelta(seconds=every)),
        ),
    }


# The wait for an MCP server that takes long to start: its own limit is 300 s at most. Twice, for a worker that is lost.
SERVER: Final[dict[str, Any]] = {
    "start_to_close_timeout": timedelta(seconds=330),
    "heartbeat_timeout": HEARTBEAT_TIMEOUT,
    "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=2),
}


# A brief tool's call within the workflow's task. One that takes longer is made again, by an activity: the task may take
# 10 s, and until its end the workflow hears of nothing else.
BRIEF_TOOL: Final[dict[str, Any]] = {
    "start_to_close_timeout": timedelta(seconds=2),
    "schedule_to_close_timeout": timedelta(seconds=4),  # with the wait for a slot
    "retry_policy": RetryPolicy(maximum_attempts=1),
    "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}
BRIEF_TOOLS: Final = 4  # calls at once: their results reach Temporal in one request, which may have 4 MB


def tool_attempts(*, idempotent: bool) -> int:
    return TOOL_ATTEMPTS if idempotent else 1


def tool(timeout: float, *, idempotent: bool) -> dict[str, Any]:
    """Return the options of a tool call. A tool that is not idempotent gets one attempt: it never runs twice (D5)."""
    return {
        "start_to_close_timeout": timedelta(seconds=timeout + TOOL_MARGIN),
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "retry_policy": RetryPolicy(
            initial_interval=timedelta(seconds=1), maximum_attempts=tool_attempts(idempotent=idempotent)
        ),
        "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }
