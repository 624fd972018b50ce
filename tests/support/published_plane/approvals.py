"""Approvals and their rules (docs/protocol.md#a9)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.published_plane import bodies
from tests.support.published_plane.edge import Call, Entry, Object, as_uuid, broken, unknown
from tests.support.published_plane.world import World, now

NAME, RISK = 255, 50  # characters


async def create(call: Call) -> Any:
    world, given = call.world, call.given
    if world.holds("approvals.plain-500"):
        if given.rule_id is not None:
            as_uuid(given.rule_id, plain=True)
        if len(given.tool_name) > NAME or len(given.risk_level or "") > RISK:
            raise broken("value too long for type character varying", plain=True)
    values = given.model_dump()
    minutes = values.pop("timeout_minutes")
    if not world.holds("approvals.no-idempotency"):
        same = ("execution_id", "tool_name", "tool_args")
        for known in world.approvals.values():
            if all(known[name] == values[name] for name in same):
                return known
    if not world.holds("approvals.context-kept"):
        values["enforcement_context"] = None
    expires = datetime.now(UTC) + timedelta(seconds=minutes * world.minute)
    row = world.row(
        **values,
        status="pending",
        requester_email=world.user["user_email"],
        requester_id=world.user["user_id"],
        approved_by_email=None,
        approved_by_name=None,
        rejection_reason=None,
        resolved_at=None,
        expires_at=expires.replace(tzinfo=None).isoformat(),  # UTC without a zone
    )
    if not world.holds("approvals.server-id") and call.body.get("id"):
        row["id"] = str(call.body["id"])
    world.approvals[row["id"]] = row
    return row


async def list_all(call: Call) -> Any:
    limit, offset = min(int(call.query("limit", "50")), 200), int(call.query("offset", "0"))
    filters = {k: call.query(k) for k in ("status", "requester_email", "execution_id") if call.query(k)}
    found = [a for a in reversed(list(call.world.approvals.values())) if filters.items() <= a.items()]
    return found[offset : offset + limit]


async def pending(call: Call) -> Any:
    _tick(call.world)
    return [a for a in reversed(list(call.world.approvals.values())) if a["status"] == "pending"]


async def get(call: Call) -> Any:
    _tick(call.world)
    return call.found(call.world.approvals, "approval", "Approval request")


def _tick(world: World) -> None:
    """No job ends what is overdue; with the rule off there is one."""
    if world.holds("approvals.no-expiry"):
        return
    at = datetime.now(UTC).replace(tzinfo=None).isoformat()
    for row in world.approvals.values():
        if row["status"] == "pending" and row["expires_at"] <= at:
            row["status"] = "expired"


def _may(world: World, row: Object) -> bool:
    if not world.holds("approvals.approver"):
        return True
    group = (row["enforcement_context"] or {}).get("approver_group_name")
    return world.user["user_email"] in (row["approver_emails"] or []) or group in world.groups


def _resolve(call: Call, status: str, **fields: Any) -> Object:
    row = call.found(call.world.approvals, "approval", "Approval request")
    decided = row["status"] != "pending" and call.world.holds("approvals.once")
    if decided or not _may(call.world, row):
        raise unknown("Approval request", row["id"])
    user = call.world.user
    row |= {"status": status, "resolved_at": now(), "updated_at": now(), **fields}
    row |= {"approved_by_email": user["user_email"], "approved_by_name": user["user_name"]}
    return row


async def approve(call: Call) -> Any:
    return _resolve(call, "approved")


async def reject(call: Call) -> Any:
    return _resolve(call, "rejected", rejection_reason=call.given.reason)


async def rules(call: Call) -> Any:
    return list(call.world.rules.values())


async def create_rule(call: Call) -> Any:
    row = call.world.row(**call.given.model_dump())
    call.world.rules[row["id"]] = row
    return row


async def put_rule(call: Call) -> Any:
    row = call.found(call.world.rules, "rule", "Approval rule")
    row |= call.given.model_dump()
    return row


async def delete_rule(call: Call) -> Any:
    del call.world.rules[call.found(call.world.rules, "rule", "Approval rule")["id"]]


def _fits(rule: Object, asked: Any) -> bool:
    wanted = {"tool": asked.tool_name, "risk_level": asked.risk_level, "category": asked.category}
    return bool(rule["scope_type"] == "all" or wanted[rule["scope_type"]] == rule["scope_value"])


async def resolve(call: Call) -> Any:
    world = call.world
    enabled = [r for r in world.rules.values() if r["enabled"] and _fits(r, call.given)]
    if world.holds("rules.first-by-priority"):
        enabled.sort(key=lambda rule: -int(rule["priority"]))
    if not enabled:
        none: Object = {"rule_id": None, "rule_name": None, "rule": None, "approver_emails": [], "auto_approved": False}
        return {**none, "require_reason": False, "timeout_minutes": 1440, "message": "No rule applies"}
    rule = enabled[0]
    value = rule["approver_value"]
    emails = value if isinstance(value, list) else [e.strip() for e in str(value or "").split(",") if e.strip()]
    return {
        "rule_id": rule["id"],
        "rule_name": rule["name"],
        "rule": rule,
        "approver_emails": emails if rule["approver_type"] == "user_emails" else [],
        "auto_approved": bool(set(rule["auto_approve_roles"]) & set(world.groups)),
        "require_reason": rule["require_reason"],
        "timeout_minutes": rule["timeout_minutes"],
        "message": f"Rule {rule['name']} applies",
    }


async def expire(call: Call) -> Any:
    """Only with its rule off: the published server has no such route."""
    row = call.found(call.world.approvals, "approval", "Approval request")
    if call.world.holds("approvals.no-expiry"):
        raise unknown("Not Found", call.request.url.path)
    row["status"] = "expired"
    return row


_P = "/approvals/{approval}"
ENTRIES = (
    Entry("POST", "/approvals", create, 201, bodies.Approval),
    Entry("GET", "/approvals", list_all),
    Entry("GET", "/approvals/pending", pending),
    Entry("GET", _P, get),
    Entry("POST", _P + "/approve", approve, 200, bodies.Approve),
    Entry("POST", _P + "/reject", reject, 200, bodies.Reject),
    Entry("POST", _P + "/expire", expire),
    Entry("GET", "/approval-rules", rules),
    Entry("POST", "/approval-rules", create_rule, 201, bodies.Rule),
    Entry("POST", "/approval-rules/resolve", resolve, 200, bodies.Resolve),
    Entry("PUT", "/approval-rules/{rule}", put_rule, 200, bodies.Rule),
    Entry("DELETE", "/approval-rules/{rule}", delete_rule, 204),
)
