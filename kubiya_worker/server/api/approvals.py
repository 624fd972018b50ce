"""This module serves approval requests and their answers (docs/protocol.md#a9); a signal sends an answer to the waiting
workflow.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.server.api import bodies
from kubiya_worker.server.api.executions import execution_id_of
from kubiya_worker.server.http import ApiError, Call, invalid, not_found, reply, route
from kubiya_worker.server.plane import resolved
from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store.approvals import Approval

FIELDS: Final = (
    *("tool_name", "tool_execution_id", "tool_args", "arguments_hash", "risk_level", "rule_id", "reason"),
    *("approver_emails", "enforcement_context", "requester_email", "requester_id"),
)
ANSWER_FIELDS: Final[dict[str, type]] = {
    "answer": str,
    "comment": str,
    "reason": str,
    "arguments": dict,
    "remember": bool,
    "approver_email": str,
    "approver_name": str,
    "approver_id": str,
}
# A local control plane has keys but no accounts: a key's holder is this person, unless the answer names another.
LONGEST_ANSWER: Final = 20_000  # characters
LOCAL_USER: Final = {"email": "local@localhost", "name": "local user"}


def approval_of(call: Call) -> Approval:
    found = call.plane.approvals.get(call.organization_id, call.path("approval"))
    if found is None:
        raise not_found("Approval", call.path("approval"))
    return found


async def create(call: Call) -> Any:
    """Create a request; the same id creates one request, so a worker that is not sure may ask again."""
    given = call.given(bodies.Approval)
    call.text("tool_name")
    execution_id = execution_id_of(call, call.text("execution_id"))
    key = given.get("id") or str(uuid.uuid4())
    existing = call.plane.approvals.get(call.organization_id, key)
    if existing is not None:
        return reply(existing)
    minutes = float(given.get("timeout_minutes", 1440))
    if call.plane.approvals.exists(key):
        raise ApiError(409, f"The approval {key!r} exists already")
    data = {name: given.get(name) for name in FIELDS}
    return call.plane.approvals.create(call.organization_id, key, execution_id, data, minutes)


async def list_all(call: Call) -> Any:
    return call.plane.approvals.search(
        call.organization_id,
        status=call.query("status"),
        execution_id=call.query("execution_id"),
        requester=call.query("requester_email"),
        limit=call.number("limit", 50, 1, 500),
        offset=call.number("offset", 0, 0, 10**9),
    )


async def pending(call: Call) -> Any:
    found = call.plane.approvals.search(
        call.organization_id, status=ap.PENDING, execution_id=call.query("execution_id"), limit=500
    )
    return [approval for approval in found if not ap.overdue(approval, datetime.now(UTC))]


async def get(call: Call) -> Any:
    return approval_of(call)


async def approve(call: Call) -> Any:
    given = call.fields(ANSWER_FIELDS)
    return _answer(call, ap.APPROVED, given, reason=given.get("comment") or given.get("reason") or "")


async def reject(call: Call) -> Any:
    given = call.fields(ANSWER_FIELDS)
    return _answer(call, ap.REJECTED, given, reason=given.get("reason") or given.get("comment") or "")


async def expire(call: Call) -> Any:
    """Record that nobody answered in time, as the worker reports it."""
    approval = approval_of(call)
    return approval if approval["status"] != ap.PENDING else _resolve(call, approval, ap.EXPIRED, {})


def _answer(call: Call, decision: str, given: dict[str, Any], *, reason: str) -> Approval:
    """Store the first answer; the same answer again is accepted, a different one is a conflict."""
    plane, approval = call.plane, approval_of(call)
    if approval["status"] == decision:
        return approval
    if ap.overdue(approval, datetime.now(UTC)):
        approval = _resolve(call, approval, ap.EXPIRED, {})
    if approval["status"] != ap.PENDING:
        said = "has expired" if approval["status"] == ap.EXPIRED else f"was {approval['status']} already"
        raise ApiError(409, f"The request {said}")
    execution = plane.executions.get(call.organization_id, approval["execution_id"])
    if execution is None or ex.is_final(execution["status"]):
        raise ApiError(409, "The execution that asked does not run any more")
    approver = {
        **LOCAL_USER,
        **{k: given[f"approver_{k}"] for k in ("email", "name", "id") if f"approver_{k}" in given},
    }
    edited = _arguments(approval, given) if decision == ap.APPROVED else None
    answer = {
        "approval_id": approval["id"],
        "decision": decision,
        "approver": approver,
        "reason": reason,
        "arguments": edited,
        "remember": bool(given.get("remember")) and decision == ap.APPROVED,
        "resolved_at": ev.now(),
    }
    changes = {
        "approved_by_email": approver["email"],
        "approved_by_name": approver["name"],
        "rejection_reason": reason if decision == ap.REJECTED else None,
        "comment": reason if decision == ap.APPROVED else None,
        "edited_args": edited,
    }
    with plane.database.transaction():
        approval = _resolve(call, approval, decision, changes)
        plane.signal(execution, names.RESOLVE_APPROVAL, answer)
    return approval


def _arguments(approval: Approval, given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the arguments that a person edited, or None.

    An answer to an agent's question is such an argument, and so is a comment.
    """
    question = bool((approval.get("enforcement_context") or {}).get("question"))
    if given.get("answer") is not None and not question:
        raise invalid("answer", "The agent asks for approval, not for an answer: approve or reject")
    answer = str(given.get("answer") or given.get("comment") or "").strip() if question else ""
    if given.get("answer") is not None and not answer:
        raise invalid("answer", "answer must not be empty", "string_too_short")
    if len(answer) > LONGEST_ANSWER:
        raise invalid("answer", f"answer has at most {LONGEST_ANSWER:,} characters", "string_too_long")
    edited: dict[str, Any] | None = given.get("arguments")
    return {**(edited or approval.get("tool_args") or {}), "answer": answer} if answer else edited


def _resolve(call: Call, approval: Approval, status: str, changes: dict[str, Any]) -> Approval:
    with call.plane.database.transaction():
        approval = call.plane.approvals.resolve(approval, status, changes)
        call.plane.publish(approval["execution_id"], [resolved(approval)])
    return approval


ROUTES: list[Route] = [
    route("POST", "/approvals", create, 201),
    route("GET", "/approvals", list_all),
    route("GET", "/approvals/pending", pending),
    route("GET", "/approvals/{approval}", get),
    route("POST", "/approvals/{approval}/approve", approve),
    route("POST", "/approvals/{approval}/reject", reject),
    route("POST", "/approvals/{approval}/expire", expire),
]
