"""Approvals (docs/protocol.md#a9)."""

from __future__ import annotations

import uuid
from typing import Any

from tests.contract.checks.registry import checks
from tests.contract.control_planes import Object, PlaneUnderTest


def _mine(plane: PlaneUnderTest) -> Object:
    """Fields that let the caller decide."""
    email = plane.call("GET", "/auth/validate")["user_email"]
    return {"approver_emails": [email]}


def _ask(plane: PlaneUnderTest, execution_id: str = "", **fields: Any) -> Object:
    body = {"execution_id": execution_id or plane.run(), "tool_name": "shell", "tool_args": {"command": "ls"}, **fields}
    found: Object = plane.call("POST", "/approvals", body, 201)
    return found


@checks("approvals.server-id")
def id_of_an_approval(plane: PlaneUnderTest) -> None:
    own = str(uuid.uuid4())
    approval = _ask(plane, id=own)
    uuid.UUID(approval["id"])
    assert (approval["status"], approval.get("resolved_at")) == ("pending", None)
    assert plane.call("GET", f"/approvals/{approval['id']}")["tool_args"] == {"command": "ls"}
    if plane.published:
        assert approval["id"] != own
        assert plane.status("GET", f"/approvals/{own}") == 404


@checks("approvals.no-idempotency")
def asked_twice(plane: PlaneUnderTest) -> None:
    execution_id = plane.row()
    first, second = _ask(plane, execution_id), _ask(plane, execution_id)
    assert first["id"] != second["id"]
    found = plane.call("GET", f"/approvals?execution_id={execution_id}")
    assert [a["id"] for a in found] == [second["id"], first["id"]]  # newest first


@checks("approvals.context-kept")
def context(plane: PlaneUnderTest) -> None:
    given = {"tool_execution_id": "call_9", "nested": {"list": [1, None, "x"]}}
    execution_id = plane.row()
    _ask(plane, execution_id, enforcement_context=given)
    (found,) = plane.call("GET", f"/approvals?execution_id={execution_id}")
    assert found["enforcement_context"] == given


@checks("approvals.approver")
def approver(plane: PlaneUnderTest) -> None:
    mine = _ask(plane, **_mine(plane))
    decided = plane.call("POST", f"/approvals/{mine['id']}/approve", {"comment": "fine"})
    assert decided["status"] == "approved" and decided["approved_by_email"] and decided["resolved_at"]
    if plane.published:  # on ours whoever has a key may decide
        others: list[Object] = [{}, {"approver_emails": ["else@acme.example"]}]
        for fields in others:
            other = _ask(plane, **fields)
            assert plane.status("POST", f"/approvals/{other['id']}/approve", {}) == 404
            assert plane.call("GET", f"/approvals/{other['id']}")["status"] == "pending"


@checks("approvals.once")
def decided_once(plane: PlaneUnderTest) -> None:
    approval = _ask(plane, **_mine(plane))
    path = f"/approvals/{approval['id']}"
    told = plane.call("POST", f"{path}/reject", {"reason": "no"})
    assert (told["status"], told["rejection_reason"]) == ("rejected", "no")
    status = plane.status("POST", f"{path}/approve", {})
    assert status == (404 if plane.published else 409), status
    assert plane.call("GET", path)["status"] == "rejected"


@checks("approvals.plain-500")
def fields_that_are_too_long(plane: PlaneUnderTest) -> None:
    body = {"execution_id": plane.row(), "tool_name": "shell"}
    for wrong in ({"tool_name": "x" * 256}, {"risk_level": "x" * 51}):
        answer = plane.ask("POST", "/approvals", {**body, **wrong})
        assert answer.status_code == (500 if plane.published else 422), answer.status_code
    plane.call("POST", "/approvals", {**body, "tool_name": "x" * 255, "rule_id": str(uuid.uuid4())}, 201)
    if plane.published:
        answer = plane.ask("POST", "/approvals", {**body, "rule_id": "rule-1"})
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
        assert answer.headers["content-type"].startswith("text/plain")


@checks("approvals.body-required")
def body_of_a_decision(plane: PlaneUnderTest) -> None:
    approval = _ask(plane, **_mine(plane))
    if plane.published:  # ours takes none for an empty one
        assert plane.ask("POST", f"/approvals/{approval['id']}/reject").status_code == 422
    plane.call("POST", f"/approvals/{approval['id']}/reject", {})


@checks("approvals.no-expiry")
def expiry(plane: PlaneUnderTest) -> None:
    approval = _ask(plane, timeout_minutes=1)
    assert approval["expires_at"] > approval["created_at"][:19]
    if plane.published:  # ours expires them, and is told by the worker; here a worker looks at its own clock
        for method, path in (("POST", "/expire"), ("POST", "/cancel"), ("PATCH", ""), ("DELETE", "")):
            assert plane.status(method, f"/approvals/{approval['id']}{path}", {}) in (404, 405)
        assert plane.call("GET", f"/approvals/{approval['id']}")["status"] == "pending"


@checks("rules.first-by-priority")
def rules(plane: PlaneUnderTest) -> None:
    if not plane.published:
        return  # ours hands its rules to the worker, which applies them (docs/policy.md)
    tool = f"tool_{uuid.uuid4().hex[:8]}"
    for name, priority, enabled in (("low", 1, True), ("off", 9, False), ("high", 5, True)):
        body = {"name": name, "scope_type": "tool", "scope_value": tool, "priority": priority, "enabled": enabled}
        plane.call("POST", "/approval-rules", {**body, "approver_value": f"{name}@acme.example"}, 201)
    found = plane.call("POST", "/approval-rules/resolve", {"tool_name": tool})
    assert (found["rule_name"], found["approver_emails"]) == ("high", ["high@acme.example"])
    assert plane.call("POST", "/approval-rules/resolve", {"tool_name": "other"})["rule_id"] is None
