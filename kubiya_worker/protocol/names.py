"""This module has the names and ids on the wire.

The published control plane and CLI fix them, except those that are marked as ours.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from typing import Final

DEFAULT_CONTROL_PLANE_URL: Final = "https://control-plane.kubiya.ai"
DEFAULT_MODEL: Final = "kubiya/claude-sonnet-4"
DEMO_MODEL: Final = "demo"

WORKER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # ours: the ids that a worker may ask for

# Workflow types that a control plane starts on a worker queue.
AGENT_WORKFLOW: Final = "AgentExecutionWorkflow"
TEAM_WORKFLOW: Final = "TeamExecutionWorkflow"
DYNAMIC_WORKFLOW: Final = "DynamicAgentExecutionWorkflow"
SCHEDULED_WORKFLOW: Final = "ScheduledJobWrapperWorkflow"
TRIAL_WORKFLOW: Final = "TrialWorkflow"  # ours: it tries an agent's model or an MCP server
TRIAL_KINDS: Final = ("agent", "team", "environment", "mcp-server")  # ours: whose MCP servers a worker can test
TRIAL_MODEL: Final = "model"  # ours, beside them: a worker can test a stored model

# Signals and queries.
ADD_MESSAGE: Final = "add_message"
MARK_AS_DONE: Final = "mark_as_done"
PAUSE: Final = "pause_execution"
RESUME: Final = "resume_execution"
RESOLVE_APPROVAL: Final = "resolve_approval"  # ours: the control plane hands a person's answer to the waiting workflow
COMMAND_ENDED: Final = "command_ended"  # ours: a worker tells a workflow that waits for a long command of its end
# Ours, from a member to the whole team: its usage, and a question whether it may call its model again.
SPEND: Final = "team_spend"
PERMIT: Final = "team_permit"  # ours: the answer to that question
# Ours, from a member to its leader: a question to a person was asked or answered.
MEMBER_WAITS: Final = "team_member_waits"
GET_STATE: Final = "get_state"
# Ours: the context that a worker needs to continue an execution that it has not seen.
GET_CONTEXT: Final = "get_context"
GET_UNCONFIRMED: Final = "get_unconfirmed"  # ours: events that may not have reached the control plane
GET_TRANSCRIPT: Final = "get_transcript"  # ours: one page of the conversation

# Activity types, all ours.
BEGIN_EXECUTION: Final = "begin_execution"
CALL_MODEL: Final = "call_model"
CALL_TOOL: Final = "call_tool"
START_SERVER: Final = "start_server"
COMPACT: Final = "compact_conversation"
FIND_HOST: Final = "find_host"
MODEL_ACTIVITIES: Final = frozenset({CALL_MODEL, COMPACT})  # those that have slots of their own
HOST_ACTIVITIES: Final = frozenset({CALL_TOOL, FIND_HOST})  # those on the queue of one host
REQUEST_APPROVAL: Final = "request_approval"
CHECK_APPROVAL: Final = "check_approval"
AWAIT_APPROVAL: Final = "await_approval"
REPORT: Final = "report"
STORE_SESSION: Final = "store_session"
PACK_STATE: Final = "pack_state"
END_TURN: Final = "end_turn"
END_EXECUTION: Final = "end_execution"
END_MEMBER: Final = "end_member"
AWAIT_CONTROL_PLANE: Final = "await_control_plane"
CREATE_JOB_EXECUTION: Final = "create_job_execution"
END_JOB_EXECUTION: Final = "end_job_execution"
TRY_OUT: Final = "try_out"

# Names that an extension must not use.
OURS: Final = frozenset(
    {
        AGENT_WORKFLOW,
        TEAM_WORKFLOW,
        DYNAMIC_WORKFLOW,
        SCHEDULED_WORKFLOW,
        TRIAL_WORKFLOW,
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
        PACK_STATE,
        END_TURN,
        END_EXECUTION,
        END_MEMBER,
        AWAIT_CONTROL_PLANE,
        CREATE_JOB_EXECUTION,
        END_JOB_EXECUTION,
        TRY_OUT,
        FIND_HOST,
    }
)

# The type of a failure in a process without the key of a payload (kubiya_worker/payloads).
UNREADABLE: Final = frozenset({"UnknownKey", "Undecodable"})
# The type of a failure of a process that did its work and could not report it (kubiya_worker/payloads/storage.py).
NOT_STORED: Final = "NotStored"
# The type of a failure of a step that could not import what it needs (kubiya_worker/process/import_faults.py).
MUST_RESTART: Final = "WorkerMustRestart"

RAISE_BUDGET: Final = "raise_budget"  # the tool name of an approval that asks for more budget
GO_ON: Final = "go_on_after_failures"  # the tool name of an approval that asks whether a call may fail further

# Types of activity failures: reasons why a model call failed for good that the workflow handles.
CONTEXT_OVERFLOW: Final = "context_overflow"  # the conversation is longer than the model's window
REPEATED_FAILURE: Final = "RepeatedFailure"  # the type of the error of a turn whose tool call fails for ever
REFUSED: Final = "refused"  # the model declines, or a filter stopped it
# The type of the failure that closes a cancelled execution's workflow, if its clients need one.
BY_USER: Final = "CancelledByUser"

# Features of the local control plane beyond the published one; sent as `features` in the start reply.
FEATURE_EVENTS_BATCH: Final = "events_batch"  # POST /executions/{id}/events/batch, deduplicated by event_id
FEATURE_CONTEXT: Final = "execution_context"  # GET /executions/{id}/context: agent, skills, session … at once
FEATURE_AUTHORITY: Final = "authority"  # GET /authority: the rules, skills and stop that hold now, in one answer
FEATURE_SECRETS: Final = "secrets"  # POST /secrets/resolve: a worker gets secrets when it uses them
FEATURE_TURN_STATUS: Final = "turn_status"  # POST /analytics/turns answers with `next_status`: no polling
FEATURE_APPROVAL_SIGNAL: Final = "approval_signal"  # an answered approval arrives as the signal `resolve_approval`
FEATURE_SESSION_PARTS: Final = "session_parts"  # POST /executions/{id}/session takes `first`: the rest of a session
FEATURE_RUN_FILES: Final = "run_files"  # POST /executions/{id}/files: a worker stores the files of a run
FEATURE_BATCH: Final = "batch"  # POST /batch: several writes in one request, all or nothing
FEATURE_BATCH_GROUPS: Final = "batch_groups"  # several such batches of different executions in one request
# An entry of a batch can depend on the next status after the turn before it.
FEATURE_BATCH_IF: Final = "batch_if_status"
FEATURE_WISHES: Final = "wishes"  # the answer to a heartbeat has `wish`: that the worker drains or is restarted

# What people wish of a worker.
WISH_DRAIN: Final = "drain"
WISH_RESTART: Final = "restart"


def published(features: Collection[str]) -> bool:
    """Return whether a control plane with these features is a published one.

    Its streams end when the workflow closes, and show the first 1,000 events (docs/protocol.md#b5, #c1).
    """
    return FEATURE_EVENTS_BATCH not in features


def workflow_id(execution_type: str, execution_id: str) -> str:
    """Return the Temporal workflow id by which the control plane addresses signals and cancellation."""
    prefix = {"agent": "agent-execution", "team": "team-execution", "dynamic": "dynamic-execution"}
    return f"{prefix.get(execution_type.lower(), 'agent-execution')}-{execution_id}"


def host_queue(task_queue: str, place: str) -> str:
    """Return the queue of calls about what one host has; `place` tells its folder from that of any other host."""
    return f"{task_queue}.host-{place}"


def schedule_id(job_id: str) -> str:
    """Return the id of a cron job's Temporal schedule; ids of its runs begin with it."""
    return f"job-{job_id}"


def user_message_id(execution_id: str, turn: int) -> str:
    return f"{execution_id}_user_{turn}"


def assistant_message_id(execution_id: str, number: int) -> str:
    """Return the id of an assistant's message; `number` counts them over the whole execution (docs/protocol.md#c2).

    Text after a tool call is a new message. The published server keeps an id of this form, with a number below 10,000,
    and replaces every other id: then a client does not recognise the message in the history from its chunks.
    """
    return f"{execution_id}_assistant_{number}"


def assistant_number(message_id: str) -> int:
    """Return the number in an assistant's message id, also in the form of 0.1.0 (`…_assistant_2_3`); 0 for others."""
    match = re.search(r"_assistant_(\d{1,9})(?:_\d{1,9})?$", message_id, re.ASCII)
    return int(match[1]) if match else 0


def tool_message_id(execution_id: str, tool_execution_id: str) -> str:
    return f"{execution_id}_tool_{tool_execution_id}"


def summary_message_id(execution_id: str, turn: int, step: int) -> str:
    return f"{execution_id}_summary_{turn}_{step}"


def approval_id(execution_id: str, tool_execution_id: str, arguments_hash: str) -> str:
    """Return the id of an approval; the same question has the same id, so asking again (retry, replay) asks once."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"kubiya:{execution_id}:{tool_execution_id}:{arguments_hash}"))


# Ours: why a person makes a request, percent-encoded UTF-8; an audit record has it.
REASON_HEADER: Final = "X-Kubiya-Reason"
