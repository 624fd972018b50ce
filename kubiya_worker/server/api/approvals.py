"""This module serves approval requests and their answers (docs/protocol.md#a9).

A signal sends an answer to the workflow that waits for it.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.server.access import ANSWER
from kubiya_worker.server.api.execution_lists import id_of
from kubiya_worker.server.api.executions import execution_id_of, execution_of, requesters
from kubiya_worker.server.approvers import OF_RULE, Approvers, approvers
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import executions as edges
from kubiya_worker.server.edges import filters, worker
from kubiya_worker.server.notify.events import of_approval
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.responses import reply
from kubiya_worker.server.runs import resolved
from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store.approvals import Approval
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.store.records import Object

FIELDS: Final = (
    *("tool_name", "tool_execution_id", "tool_args", "arguments_hash", "risk_level", "rule_id", "reason"),
    *("approver_emails", "enforcement_context", "requester_email", "requester_id"),
)
LONGEST_ANSWER: Final = 20_000  # characters


def approval_of(call: Call) -> Approval:
    approval = call.plane.stores.approvals.get(call.organization_id, call.path("approval"))
    if approval is None or not call.reaches(approval["execution_id"]):
        raise not_found("Approval", call.path("approval"))
    return approval


def _rule(call: Call, approval: Approval) -> Object | None:
    """Return the rule that asked as it is now; None where it was deleted or is one of the worker's host."""
    return call.plane.stores.rules.find(call.organization_id, str(approval.get("rule_id") or ""))


def approvers_of(call: Call, approval: Approval) -> Approvers:
    """Return who may answer a request now."""
    execution = call.plane.stores.executions.get(call.organization_id, approval["execution_id"])
    asked = requesters(call, execution) if execution else []
    return approvers(approval, _rule(call, approval), asked)


def _shown(call: Call, approval: Approval) -> Approval:
    """Return the request as replies show it: an open one with who may answer it, and whether the caller may."""
    if approval["status"] != ap.PENDING:
        return approval
    who = approvers_of(call, approval)
    mine = call.person.role in ANSWER.roles and not who.refusal(call.person)
    return {**approval, "approvers": who.json(), "you_may_answer": mine}


async def create(call: Call) -> Any:
    """Create a request; the same id creates one request, so a worker that is not sure may ask again."""
    fields = call.fields
    execution_id = execution_id_of(call, fields["execution_id"])
    key = fields.get("id") or str(uuid.uuid4())
    existing = call.plane.stores.approvals.get(call.organization_id, key)
    if existing is not None:
        return reply(_shown(call, existing))
    minutes = float(fields.get("timeout_minutes", 1440))
    if call.plane.stores.approvals.exists(key):
        raise ApiError(409, f"The approval {key!r} exists already")
    data = {name: fields.get(name) for name in FIELDS}
    rule, execution = _rule(call, data), execution_of(call, execution_id)
    if rule is not None:
        data["rule"] = {name: rule.get(name) for name in OF_RULE}
    with call.plane.database.transaction():
        approval = call.plane.stores.approvals.create(call.organization_id, key, execution_id, data, minutes)
        if rule is not None and _needs_nobody(rule, execution, approval):
            return _approved_by_rule(call, approval, execution, rule)
        call.plane.notifier.tell(call.organization_id, of_approval(approval, execution))
    return _shown(call, approval)


def _needs_nobody(rule: Object, execution: Execution, approval: Approval) -> bool:
    """Return whether the person who started the execution has a role or group that the rule approves by itself.

    Where another judge asks as well (taint, the host's rules, a policy service), the rule cannot answer for it.
    """
    context = approval.get("enforcement_context") or {}
    if context.get("several_judges") or context.get("question"):
        return False
    by = execution.get("requested_by") or {}
    return not {by.get("role"), *(by.get("groups") or ())}.isdisjoint(rule.get("auto_approve_roles") or ())


def _approved_by_rule(call: Call, approval: Approval, execution: Execution, rule: Object) -> Approval:
    """Approve a request at once; its event comes first, as the worker's own would only come after the answer."""
    keys = ("execution_id", "tool_name", "tool_args", "tool_execution_id", "risk_level", "reason", "arguments_hash")
    asked = {key: approval.get(key) for key in (*keys, "expires_at")}
    asked |= {"approval_id": approval["id"], "status": ap.PENDING}
    event = ev.event(f"approval_requested:{approval['id']}", ev.APPROVAL_REQUESTED, asked)
    call.plane.runs.publish(approval["execution_id"], [event])
    by = execution["requested_by"]
    text = f"The rule {rule['name']} approves what {by['name']} starts"
    changes = {"approved_by_email": "", "approved_by_name": f"the rule {rule['name']}", "comment": text}
    answer = {
        "approval_id": approval["id"],
        "decision": ap.APPROVED,
        "approver": {"id": f"rule:{rule['id']}", "name": f"the rule {rule['name']} for {by['name']}", "email": ""},
        "reason": text,
        "arguments": None,
        "remember": False,
        "resolved_at": ev.now(),
    }
    approval = _resolve(call, approval, ap.APPROVED, changes)
    call.plane.runs.signal(execution, names.RESOLVE_APPROVAL, answer)
    return approval


async def list_all(call: Call) -> Any:
    wanted = call.filters(filters.ApprovalFilters)
    query = ap.ApprovalQuery(
        scope=call.person.scope,
        queue_id=id_of(call, "Queue", wanted.queue, (call.plane.stores.queues,)),
        status=wanted.status,
        execution_id=wanted.execution_id,
        requester=wanted.requester_email,
    )
    stored = call.plane.stores.approvals.search(call.organization_id, query, limit=wanted.limit, offset=wanted.offset)
    return [_shown(call, approval) for approval in stored]


async def pending(call: Call) -> Any:
    wanted = call.filters(filters.PendingApprovalFilters)
    query = ap.ApprovalQuery(scope=call.person.scope, status=ap.PENDING, execution_id=wanted.execution_id)
    stored = call.plane.stores.approvals.search(call.organization_id, query, limit=500)
    return [_shown(call, approval) for approval in stored if not ap.overdue(approval, datetime.now(UTC))]


async def get(call: Call) -> Any:
    return _shown(call, approval_of(call))


async def approve(call: Call) -> Any:
    fields = call.fields
    return answer(call, ap.APPROVED, fields, "comment", reason=fields.get("comment") or fields.get("reason") or "")


async def reject(call: Call) -> Any:
    fields = call.fields
    return answer(call, ap.REJECTED, fields, "reason", reason=fields.get("reason") or fields.get("comment") or "")


async def expire(call: Call) -> Any:
    """Record that nobody answered in time, as the worker reports it."""
    approval = approval_of(call)
    return approval if approval["status"] != ap.PENDING else _resolve(call, approval, ap.EXPIRED, {})


def answer(
    call: Call, decision: str, fields: dict[str, Any], field: str, *, reason: str, answered_by: str | None = None
) -> Approval:
    """Store the first answer; the same answer again is accepted, a different one is a conflict.

    `field` is where the reason is expected. `answered_by` says by what, when it was not by a request of the person.
    """
    plane, approval = call.plane, approval_of(call)
    _only_the_caller(call, fields)
    refused = approvers_of(call, approval).refusal(call.person)
    if refused:
        raise ApiError(403, refused)
    if approval["status"] == decision:
        return approval
    if ap.overdue(approval, datetime.now(UTC)):
        approval = _resolve(call, approval, ap.EXPIRED, {})
    if approval["status"] != ap.PENDING:
        outcome = "has expired" if approval["status"] == ap.EXPIRED else f"was {approval['status']} already"
        raise ApiError(409, f"The request {outcome}")
    execution = plane.stores.executions.get(call.organization_id, approval["execution_id"])
    if execution is None or ex.is_final(execution["status"]):
        raise ApiError(409, "The execution that asked does not run any more")
    if not reason.strip() and _wants_reason(call, approval):
        raise invalid(field, "The rule that asks wants a reason for each answer", "missing")
    approver = call.person.contact()
    edited = _arguments(approval, fields) if decision == ap.APPROVED else None
    sent = {
        "approval_id": approval["id"],
        "decision": decision,
        "approver": approver,
        "reason": reason,
        "arguments": edited,
        "remember": bool(fields.get("remember")) and decision == ap.APPROVED,
        "resolved_at": ev.now(),
    }
    changes = {
        "approved_by_email": approver["email"],
        "approved_by_name": approver["name"],
        "rejection_reason": reason if decision == ap.REJECTED else None,
        "comment": reason if decision == ap.APPROVED else None,
        "edited_args": edited,
        "answered_by": answered_by,
    }
    with plane.database.transaction():
        approval = _resolve(call, approval, decision, changes)
        plane.runs.signal(execution, names.RESOLVE_APPROVAL, sent)
    return approval


def reject_by_rule(call: Call, approval: Approval, rule: dict[str, Any]) -> None:
    """Reject a waiting request in the name of a rule that denies its call; leave one whose execution has ended."""
    plane, execution = call.plane, call.plane.stores.executions.get(call.organization_id, approval["execution_id"])
    if execution is None or ex.is_final(execution["status"]) or ap.overdue(approval, datetime.now(UTC)):
        return
    approver = {"name": f"the rule {rule['name']}", "email": None}
    reason = f"The rule {rule['name']} denies it since {rule['updated_at']}"
    changes = {"approved_by_name": approver["name"], "rejection_reason": reason}
    answer = {"approval_id": approval["id"], "decision": ap.REJECTED, "approver": approver, "reason": reason}
    with plane.database.transaction():
        _resolve(call, approval, ap.REJECTED, changes)
        plane.runs.signal(execution, names.RESOLVE_APPROVAL, {**answer, "resolved_at": ev.now()})


def _only_the_caller(call: Call, fields: dict[str, Any]) -> None:
    """Answer 422 where the body names another approver than the person who asks."""
    for name, real in call.person.contact().items():
        claimed = fields.get(f"approver_{name}")
        if claimed is not None and claimed.lower() != real.lower():
            text = f"The approver is who asks: {call.person.name}. Leave approver_{name} out, or use that person's key"
            raise invalid(f"approver_{name}", text)


def _wants_reason(call: Call, approval: Approval) -> bool:
    """Return whether the rule wants a reason: one of this control plane, or one of the worker's host."""
    rule = _rule(call, approval)
    wanted = (approval.get("enforcement_context") or {}).get("require_reason") is True
    return wanted or bool(rule and rule["require_reason"])


def _arguments(approval: Approval, fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return the arguments that a person edited, or None.

    An answer to an agent's question is such an argument, and so is a comment.
    """
    question = bool((approval.get("enforcement_context") or {}).get("question"))
    if fields.get("answer") is not None and not question:
        raise invalid("answer", "The agent asks for approval, not for an answer: approve or reject")
    answer = str(fields.get("answer") or fields.get("comment") or "").strip() if question else ""
    if fields.get("answer") is not None and not answer:
        raise invalid("answer", "answer must not be empty", "string_too_short")
    if len(answer) > LONGEST_ANSWER:
        raise invalid("answer", f"answer has at most {LONGEST_ANSWER:,} characters", "string_too_long")
    edited: dict[str, Any] | None = fields.get("arguments")
    return {**(edited or approval.get("tool_args") or {}), "answer": answer} if answer else edited


def _resolve(call: Call, approval: Approval, status: str, changes: dict[str, Any]) -> Approval:
    with call.plane.database.transaction():
        approval = call.plane.stores.approvals.resolve(approval, status, changes)
        call.plane.runs.publish(approval["execution_id"], [resolved(approval)])
    return approval


ROUTES: list[Route] = [
    Edge("POST", "/approvals", create, 201, body=worker.Approval, audit="approval.create"),
    Edge("GET", "/approvals", list_all, query=filters.ApprovalFilters),
    Edge("GET", "/approvals/pending", pending, query=filters.PendingApprovalFilters),
    Edge("GET", "/approvals/{approval}", get),
    Edge("POST", "/approvals/{approval}/approve", approve, body=edges.Answer, audit="approval.approve"),
    Edge("POST", "/approvals/{approval}/reject", reject, body=edges.Answer, audit="approval.reject"),
    Edge("POST", "/approvals/{approval}/expire", expire, body=worker.Expire, audit="approval.expire"),
]
