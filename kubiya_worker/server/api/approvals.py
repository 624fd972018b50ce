"""Approvals and their rules (PROTOCOL A.9). An answer reaches the waiting workflow as a signal."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import names
from kubiya_worker.server.http import ApiError, Call, not_found, reply, route
from kubiya_worker.server.store.approvals import Approval
from kubiya_worker.server.temporal import TemporalDown

FIELDS = (
    *("tool_name", "tool_execution_id", "tool_args", "arguments_hash", "risk_level", "rule_id", "reason"),
    *("approver_emails", "enforcement_context", "timeout_minutes", "requester_email", "requester_id"),
)


def _approval(call: Call) -> Approval:
    found = call.plane.approvals.get(call.organization_id, call.path("approval"))
    if found is None:
        raise not_found("Approval", call.path("approval"))
    return found


async def create(call: Call) -> Any:
    """The same id asks once: a worker that is not sure may ask again."""
    call.text("tool_name")
    execution_id = call.text("execution_id")
    if call.plane.executions.get(call.organization_id, execution_id) is None:
        raise not_found("Execution", execution_id)
    key = str(call.body.get("id") or uuid.uuid4())
    existing = call.plane.approvals.get(call.organization_id, key)
    if existing is not None:
        return reply(existing)
    data = {k: call.body.get(k) for k in FIELDS}
    return call.plane.approvals.create(call.organization_id, key, execution_id, data)


async def list_all(call: Call) -> Any:
    return call.plane.approvals.list(
        call.organization_id,
        status=call.query("status"),
        execution_id=call.query("execution_id"),
        limit=call.number("limit", 50, 1, 500),
        offset=call.number("offset", 0, 0, 10**9),
    )


async def pending(call: Call) -> Any:
    return call.plane.approvals.list(call.organization_id, status="pending", limit=500)


async def get(call: Call) -> Any:
    return _approval(call)


async def approve(call: Call) -> Any:
    edited = call.body.get("arguments")
    if edited is not None and not isinstance(edited, dict):
        raise ApiError(422, [{"loc": ["body", "arguments"], "msg": "an object", "type": "dict_type"}])
    return await _answer(call, "approved", reason=str(call.body.get("comment") or ""), arguments=edited)


async def reject(call: Call) -> Any:
    return await _answer(call, "rejected", reason=str(call.body.get("reason") or ""))


async def expire(call: Call) -> Any:
    approval = _approval(call)
    return approval if approval["status"] != "pending" else _resolve(call, approval, "expired", {})


async def _answer(
    call: Call, decision: str, *, reason: str, arguments: dict[str, Any] | None = None
) -> Approval | Response:
    """Signal first: an answer that the workflow did not get must not look given."""
    approval = _approval(call)
    if approval["status"] == decision:
        return approval
    if approval["status"] != "pending":
        raise ApiError(409, f"The request was {approval['status']} already")
    execution = call.plane.executions.get(call.organization_id, approval["execution_id"])
    if execution is None:
        raise not_found("Execution", approval["execution_id"])
    approver = {
        "email": call.body.get("approver_email") or "local@localhost",
        "name": call.body.get("approver_name") or "local user",
    }
    answer = {
        "approval_id": approval["id"],
        "decision": decision,
        "approver": approver,
        "reason": reason,
        "arguments": arguments,
        "remember": bool(call.body.get("remember")),
        "resolved_at": ev.now(),
    }
    try:
        await call.plane.temporal.signal(execution, names.RESOLVE_APPROVAL, answer)
    except LookupError as error:
        raise ApiError(409, "The execution that asked does not run any more") from error
    except TemporalDown as error:
        raise ApiError(503, f"Temporal does not answer: {error}. Try again") from error
    changes = {
        "approved_by_email": approver["email"],
        "approved_by_name": approver["name"],
        "rejection_reason": reason if decision == "rejected" else None,
        "comment": reason if decision == "approved" else None,
        "edited_args": arguments,
    }
    return _resolve(call, approval, decision, changes)


def _resolve(call: Call, approval: Approval, status: str, changes: dict[str, Any]) -> Approval:
    approval = call.plane.approvals.resolve(approval, status, changes)
    data = {
        "approval_id": approval["id"],
        **{k: approval.get(k) for k in ("execution_id", "status", "tool_name", "tool_execution_id")},
        **{k: approval.get(k) for k in ("approved_by_email", "approved_by_name", "rejection_reason")},
    }
    event = ev.event(f"approval_resolved:{approval['id']}", ev.APPROVAL_RESOLVED, data)
    call.plane.publish(approval["execution_id"], [event])
    return approval


async def list_rules(call: Call) -> Any:
    return call.plane.rules.list(call.organization_id)


async def create_rule(call: Call) -> Any:
    scope = call.text("scope_type")
    if scope not in ("tool", "risk_level", "category", "all"):
        raise ApiError(
            422, [{"loc": ["body", "scope_type"], "msg": "tool, risk_level, category or all", "type": "enum"}]
        )
    rule = {"enabled": True, "priority": 0, "timeout_minutes": 1440, **call.body}
    return call.plane.rules.create(
        call.organization_id, call.text("name"), {k: v for k, v in rule.items() if k != "id"}
    )


def _rule(call: Call) -> dict[str, Any]:
    found = call.plane.rules.find(call.organization_id, call.path("rule"))
    if found is None:
        raise not_found("Approval rule", call.path("rule"))
    return found


async def update_rule(call: Call) -> Any:
    return call.plane.rules.update(_rule(call), call.body)


async def delete_rule(call: Call) -> Any:
    call.plane.rules.delete(_rule(call)["id"])


ROUTES: list[Route] = [
    route("POST", "/approvals", create, 201),
    route("GET", "/approvals", list_all),
    route("GET", "/approvals/pending", pending),
    route("GET", "/approvals/{approval}", get),
    route("POST", "/approvals/{approval}/approve", approve),
    route("POST", "/approvals/{approval}/reject", reject),
    route("POST", "/approvals/{approval}/expire", expire),
    route("GET", "/approval-rules", list_rules),
    route("POST", "/approval-rules", create_rule, 201),
    route("PUT", "/approval-rules/{rule}", update_rule),
    route("DELETE", "/approval-rules/{rule}", delete_rule),
]
