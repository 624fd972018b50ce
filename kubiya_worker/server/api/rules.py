"""This module stores approval rules, which select the tool calls that need a person (docs/protocol.md#a9); workers
apply them.
"""

from __future__ import annotations

import fnmatch
from typing import Any

from starlette.routing import Route

from kubiya_worker.protocol.tools import RISKS
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
    if given.get("action", "ask") not in definitions.ACTIONS:
        raise invalid("action", f"action is one of {', '.join(definitions.ACTIONS)}", "enum")
    if "name" in given:
        given["name"] = call.name()
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


async def resolve(call: Call) -> Any:
    """Return the rules for a tool, strongest first; those with an `argument_pattern` also depend on the call."""
    tool = call.text("tool_name")
    given = call.fields({"risk_level": str, "category": str})
    scopes = {"tool": tool, **{k: v for k, v in (("category", given.get("category")),) if v}}
    found = [r for r in call.plane.rules.list(call.organization_id) if about(r, scopes, given.get("risk_level", ""))]
    found.sort(key=lambda rule: -rule["priority"])
    return {"requires_approval": bool(found) and found[0]["action"] == "ask", "rules": found}


def about(rule: Object, scopes: dict[str, str], risk: str) -> bool:
    """Return whether an enabled rule's scope covers a tool, by the rules of the worker's policy. Pure."""
    kind, value = rule["scope_type"], str(rule.get("scope_value") or "").strip().lower()
    if not rule.get("enabled", True):
        return False
    if kind == "all":
        return True
    if kind == "risk_level":
        if value not in RISKS or risk.lower() not in RISKS:
            return False
        here, there = RISKS.index(risk.lower()), RISKS.index(value)
        return here <= there if rule["action"] == "allow" else here >= there
    name = scopes.get(kind, "").lower()
    if kind == "tool":
        return fnmatch.fnmatchcase(name, value) or (rule["action"] != "allow" and name.endswith(f"_{value}"))
    return bool(name) and name == value


async def delete(call: Call) -> Any:
    call.plane.rules.delete(_rule_of(call)["id"])


ROUTES: list[Route] = [
    route("GET", "/approval-rules", list_all),
    route("POST", "/approval-rules", create, 201),
    route("POST", "/approval-rules/resolve", resolve),
    route("PUT", "/approval-rules/{rule}", update),
    route("DELETE", "/approval-rules/{rule}", delete),
]
