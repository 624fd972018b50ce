"""Approval rules: which tool calls want a person (PROTOCOL A.9). The worker applies them; they are kept here."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from kubiya_worker.server.http import Call, invalid, not_found, route
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object


def _rule_of(call: Call) -> Object:
    found = call.plane.rules.find(call.organization_id, call.path("rule"))
    if found is None:
        raise not_found("Approval rule", call.path("rule"))
    return found


def _fields(call: Call) -> Object:
    given = call.fields(definitions.RULE_FIELDS)
    if given.get("scope_type", "all") not in definitions.SCOPES:
        raise invalid("scope_type", f"scope_type is one of {', '.join(definitions.SCOPES)}", "enum")
    if not 0 < given.get("timeout_minutes", 1) <= definitions.LONGEST_TIMEOUT:
        raise invalid("timeout_minutes", f"timeout_minutes is above 0 and at most {definitions.LONGEST_TIMEOUT}")
    return given


async def list_all(call: Call) -> Any:
    return call.plane.rules.list(call.organization_id)


async def create(call: Call) -> Any:
    name, given = call.name(), _fields(call)
    if given.get("scope_type") is None:
        raise invalid("scope_type", "Field required", "missing")
    if given["scope_type"] != "all" and not given.get("scope_value"):
        raise invalid("scope_value", f"A rule of scope {given['scope_type']} needs a scope_value", "missing")
    return call.plane.rules.create(call.organization_id, name, definitions.new_rule(given))


async def update(call: Call) -> Any:
    return call.plane.rules.update(_rule_of(call), _fields(call))


async def delete(call: Call) -> Any:
    call.plane.rules.delete(_rule_of(call)["id"])


ROUTES: list[Route] = [
    route("GET", "/approval-rules", list_all),
    route("POST", "/approval-rules", create, 201),
    route("PUT", "/approval-rules/{rule}", update),
    route("DELETE", "/approval-rules/{rule}", delete),
]
