"""Names and identifiers on the wire. They are fixed by the published control plane and CLI, unless marked as ours."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from typing import Final

DEFAULT_CONTROL_PLANE_URL: Final = "https://control-plane.kubiya.ai"
DEFAULT_MODEL: Final = "kubiya/claude-sonnet-4"
DEMO_MODEL: Final = "demo"

WORKER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # ours: what a worker may ask to be called

# Workflow types that a control plane starts on a worker queue.
AGENT_WORKFLOW: Final = "AgentExecutionWorkflow"
TEAM_WORKFLOW: Final = "TeamExecutionWorkflow"
DYNAMIC_WORKFLOW: Final = "DynamicAgentExecutionWorkflow"
SCHEDULED_WORKFLOW: Final = "ScheduledJobWrapperWorkflow"

# Signals and queries.
ADD_MESSAGE: Final = "add_message"
MARK_AS_DONE: Final = "mark_as_done"
PAUSE: Final = "pause_execution"
RESUME: Final = "resume_execution"
RESOLVE_APPROVAL: Final = "resolve_approval"  # ours: the control plane hands a person's answer to the waiting workflow
SPEND: Final = "team_spend"  # ours, member -> the whole team: what it has used; may it call its model again?
PERMIT: Final = "team_permit"  # ours: the answer
MEMBER_WAITS: Final = "team_member_waits"  # ours, member -> its leader: a question to a person was asked or answered
GET_STATE: Final = "get_state"
GET_CONTEXT: Final = "get_context"  # ours: what a worker needs to go on with an execution that it has not seen
GET_TRANSCRIPT: Final = "get_transcript"  # ours: one page of the conversation

# Activity types, all ours.
BEGIN_EXECUTION: Final = "begin_execution"
CALL_MODEL: Final = "call_model"
CALL_TOOL: Final = "call_tool"
START_SERVER: Final = "start_server"
COMPACT: Final = "compact_conversation"
REQUEST_APPROVAL: Final = "request_approval"
CHECK_APPROVAL: Final = "check_approval"
AWAIT_APPROVAL: Final = "await_approval"
REPORT: Final = "report"
STORE_SESSION: Final = "store_session"
END_TURN: Final = "end_turn"
END_EXECUTION: Final = "end_execution"
END_MEMBER: Final = "end_member"
AWAIT_CONTROL_PLANE: Final = "await_control_plane"
CREATE_JOB_EXECUTION: Final = "create_job_execution"
END_JOB_EXECUTION: Final = "end_job_execution"

# What an extension may not call its own.
OURS: Final = frozenset(
    {
        AGENT_WORKFLOW,
        TEAM_WORKFLOW,
        DYNAMIC_WORKFLOW,
        SCHEDULED_WORKFLOW,
        BEGIN_EXECUTION,
        CALL_MODEL,
        CALL_TOOL,
        START_SERVER,
        COMPACT,
        REQUEST_APPROVAL,
        CHECK_APPROVAL,
        AWAIT_APPROVAL,
        REPORT,
        STORE_SESSION,
        END_TURN,
        END_EXECUTION,
        END_MEMBER,
        AWAIT_CONTROL_PLANE,
        CREATE_JOB_EXECUTION,
        END_JOB_EXECUTION,
    }
)

# How the failure of a process that has not the key of a payload is called (kubiya_worker/payloads).
UNREADABLE: Final = frozenset({"UnknownKey", "Undecodable"})
# And of one that has done what it was asked, and could not say so (kubiya_worker/payloads/storage.py).
NOT_STORED: Final = "NotStored"

RAISE_BUDGET: Final = "raise_budget"  # the tool name of an approval that asks for more budget

# Why a model call failed for good, where the workflow cares: the type of the activity's failure.
CONTEXT_OVERFLOW: Final = "context_overflow"  # the conversation is longer than the model's window
REFUSED: Final = "refused"  # the model, or a filter around it, declines
# The type of the failure with which the workflow of a cancelled execution closes, where its clients need that.
BY_USER: Final = "CancelledByUser"

# What the local control plane can do beyond the published one; sent as `features` in the start reply.
FEATURE_EVENTS_BATCH: Final = "events_batch"  # POST /executions/{id}/events/batch, deduplicated by event_id
FEATURE_CONTEXT: Final = "execution_context"  # GET /executions/{id}/context: agent, skills, session … at once
FEATURE_TURN_STATUS: Final = "turn_status"  # POST /analytics/turns answers with `next_status`: no polling
FEATURE_APPROVAL_SIGNAL: Final = "approval_signal"  # an answered approval arrives as the signal `resolve_approval`
FEATURE_SESSION_PARTS: Final = "session_parts"  # POST /executions/{id}/session takes `first`: the rest of a session
FEATURE_BATCH: Final = "batch"  # POST /batch: several writes in one request, all or nothing
FEATURE_BATCH_GROUPS: Final = "batch_groups"  # and several of those, of different executions, in one request
FEATURE_BATCH_IF: Final = "batch_if_status"  # an entry of it can depend on what the turn before it came to


def published(features: Collection[str]) -> bool:
    """Whether a control plane with these features is a published one.

    Its streams end by how the workflow closes, and show the first 1,000 events (PROTOCOL B.5, C.1).
    """
    return FEATURE_EVENTS_BATCH not in features


def workflow_id(execution_type: str, execution_id: str) -> str:
    """The Temporal workflow id by which the control plane addresses signals and cancellation."""
    prefix = {"agent": "agent-execution", "team": "team-execution", "dynamic": "dynamic-execution"}
    return f"{prefix.get(execution_type.lower(), 'agent-execution')}-{execution_id}"


def schedule_id(job_id: str) -> str:
    """The Temporal schedule of a cron job; ids of its runs begin with it."""
    return f"job-{job_id}"


def user_message_id(execution_id: str, turn: int) -> str:
    return f"{execution_id}_user_{turn}"


def assistant_message_id(execution_id: str, number: int) -> str:
    """Return the id of an assistant's message; `number` counts them over the whole execution (PROTOCOL C.2).

    Text after a tool call is a new message. The published server keeps an id of this form, with a number below 10,000,
    and replaces every other: then a client takes the message in the history for another one than its chunks.
    """
    return f"{execution_id}_assistant_{number}"


def assistant_number(message_id: str) -> int:
    """Return the number in an assistant's message id, also in the form of 0.1.0 (`…_assistant_2_3`); 0 for others."""
    found = re.search(r"_assistant_(\d{1,9})(?:_\d{1,9})?$", message_id, re.ASCII)
    return int(found[1]) if found else 0


def tool_message_id(execution_id: str, tool_execution_id: str) -> str:
    return f"{execution_id}_tool_{tool_execution_id}"


def summary_message_id(execution_id: str, turn: int, step: int) -> str:
    return f"{execution_id}_summary_{turn}_{step}"


def approval_id(execution_id: str, tool_execution_id: str, arguments_hash: str) -> str:
    """The same question always has the same id, so asking twice (a retry, a replay) is asking once."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"kubiya:{execution_id}:{tool_execution_id}:{arguments_hash}"))
