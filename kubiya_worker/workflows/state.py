"""This module makes the answer to the query `get_state`: what an execution is doing, in a few words."""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.budget import Budget
from kubiya_worker.workflows.conversation import Conversation
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.members import Members

MESSAGES: Final = 200
BYTES: Final = 1_000_000


def state_of(core: ExecutionCore, approvals: Approvals, budget: Budget, members: Members) -> ex.ExecutionState:
    """Return the state of an execution. It can be asked for before the execution has begun."""
    run, conversation = core.run, core.conversation
    context = run.context_or_none or calls.Context(agent_id="")
    return ex.ExecutionState(
        status=ex.PAUSED if run.paused and not ex.is_final(run.status) else run.status,
        messages=_last_answers(conversation),
        current_response=conversation.last_text(),
        error_message=run.error,
        usage=budget.total().wire(),
        metadata={
            "model": context.model_id,
            "model_label": context.model_label,
            "turn": core.turn.number,
            "steps": budget.steps,
            "messages_total": conversation.total + len(conversation.inbox),
            "messages_waiting": len(conversation.inbox),
            **({"error_type": run.error_type} if run.error_type else {}),
            "pending_approvals": approvals.open_requests(),
            "undelivered_events": len(core.outbox),
            **({"degraded": context.metadata["degraded"]} if context.metadata.get("degraded") else {}),
            **members.state(),
        },
        is_waiting_for_input=run.status == ex.WAITING,
        should_complete=run.done,
        is_paused=run.paused,
    )


def _last_answers(conversation: Conversation) -> list[dict[str, Any]]:
    """Return the last messages of the assistant, up to a size.

    The published stream sends every message of another role once more, without its id.
    """
    answers = [message for message in conversation.messages if message["role"] == "assistant"]
    shown: list[m.Message] = []
    size = 0
    for message in reversed(answers[-MESSAGES:]):
        size += m.size_of(message)
        if shown and size > BYTES:
            break
        shown.append(message)
    return shown[::-1]
