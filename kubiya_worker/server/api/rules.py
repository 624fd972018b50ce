"""This module stores approval rules, which select the tool calls that need a person (docs/protocol.md#a9).

Workers apply them.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Sequence
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol.tools import RISKS
from kubiya_worker.server import approvers
from kubiya_worker.server.api import approvals, deletion
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import definitions as edges
from kubiya_worker.server.edges import filters, worker
from kubiya_worker.server.person import ADMIN, APPROVER, OPERATOR
from kubiya_worker.server.refusals import invalid, not_found
from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object

ANSWERING: Final = (OPERATOR, APPROVER, ADMIN)  # roles that the table of access.py lets answer
MOST_WAITING: Final = 10_000  # requests that one change of a rule looks through


def _rule_of(call: Call) -> Object:
    rule = call.plane.stores.rules.find(call.organization_id, call.path("rule"))
    if rule is None:
        raise not_found("Approval rule", call.path("rule"))
    return rule


async def list_all(call: Call) -> Any:
    return page(call, call.plane.stores.rules.list(call.organization_id))


async def create(call: Call) -> Any:
    fields = call.fields
    if fields["scope_type"] != "all" and not fields.get("scope_value"):
        raise invalid("scope_value", f"A rule of scope {fields['scope_type']} needs a scope_value", "missing")
    with call.plane.database.transaction():
        rule = call.plane.stores.rules.create(
            call.organization_id, fields["name"], _checked(definitions.new_rule(fields), fields)
        )
        _deny_waiting(call, rule)
    return rule


async def update(call: Call) -> Any:
    rule = _rule_of(call)
    if "approver_type" in call.fields and "approver_value" not in call.fields:
        raise invalid("approver_value", "Give it with approver_type: the old names are of another kind", "missing")
    with call.plane.database.transaction():
        rule = call.plane.stores.rules.update(rule, _checked({**rule, **call.fields}, call.fields))
        _deny_waiting(call, rule)
    return rule


def _deny_waiting(call: Call, rule: Object) -> None:
    """Reject the waiting requests whose calls a new or changed rule denies: nobody has to answer them first."""
    if rule["action"] != "deny":
        return
    rules = call.plane.stores.rules.list(call.organization_id)
    waiting = ap.ApprovalQuery(status=ap.PENDING)
    for approval in call.plane.stores.approvals.search(call.organization_id, waiting, limit=MOST_WAITING):
        if denies(rule, rules, str(approval.get("tool_name") or ""), str(approval.get("risk_level") or "")):
            approvals.reject_by_rule(call, approval, rule)


def denies(rule: Object, rules: Sequence[Object], tool: str, risk: str) -> bool:
    """Return whether a rule certainly denies a waiting call of the tool. Pure.

    The worker judges each call that is approved once more, so a doubt is no gap: a rule that depends on the arguments,
    or a stronger rule that may match, leaves the request open.
    """
    if rule["action"] != "deny" or rule.get("argument_pattern") or not about(rule, {"tool": tool}, risk):
        return False
    stronger = [each for each in rules if each["priority"] > rule["priority"] and each.get("enabled", True)]
    return not any(each["scope_type"] == "category" or about(each, {"tool": tool}, risk) for each in stronger)


def _checked(rule: Object, fields: Object) -> Object:
    """Return the rule with its approvers as a list; answer 422 where they could not be found or honoured.

    A rule that asks can become one that denies, and keeps its approvers; `given` is what the request says.
    """
    kind, names = rule["approver_type"], list(approvers.names_in(rule["approver_value"]))
    if names and not kind:
        raise invalid(
            "approver_type", f"approver_value needs an approver_type: {', '.join(approvers.TYPES)}", "missing"
        )
    if kind and not names and rule["approver_value"] is None:
        raise invalid("approver_value", f"approver_type {kind} needs an approver_value", "missing")
    wrong = [name for name in names if kind == approvers.ROLE and name not in ANSWERING]
    if wrong:
        raise invalid("approver_value", f"{wrong[0]!r} is no role that may answer: {', '.join(ANSWERING)}", "enum")
    wrong = [name for name in names if kind == approvers.EMAILS and "@" not in name]
    if wrong:
        raise invalid("approver_value", f"{wrong[0]!r} is not an e-mail address")
    if rule.get("separate_approver") and rule["auto_approve_roles"]:
        raise invalid("separate_approver", "separate_approver contradicts auto_approve_roles: give one of them")
    if rule["action"] != "ask" and any(fields.get(name) for name in (*approvers.OF_RULE, "auto_approve_roles")):
        raise invalid("action", f"Nobody is asked by a rule whose action is {rule['action']}, so it has no approvers")
    return {**rule, "approver_type": kind if names else None, "approver_value": names or None}


async def resolve(call: Call) -> Any:
    """Return the rules for a tool, strongest first; those with an `argument_pattern` also depend on the call."""
    fields = call.fields
    tool = fields["tool_name"]
    scopes = {"tool": tool, **{k: v for k, v in (("category", fields.get("category")),) if v}}
    rules = [
        r for r in call.plane.stores.rules.list(call.organization_id) if about(r, scopes, fields.get("risk_level", ""))
    ]
    rules.sort(key=lambda rule: -rule["priority"])
    return {"requires_approval": bool(rules) and rules[0]["action"] == "ask", "rules": rules}


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
    """Delete a rule; it is refused while requests for approval wait because of it (409)."""
    rule = _rule_of(call)
    remove = functools.partial(call.plane.stores.rules.delete, rule)
    return deletion.delete(call, "rule", rule, lambda needs: needs.of_rule(rule), remove)


ROUTES: list[Route] = [
    Edge("GET", "/approval-rules", list_all, query=filters.Page),
    Edge("POST", "/approval-rules", create, 201, body=edges.NewRule, audit="rule.create"),
    Edge("POST", "/approval-rules/resolve", resolve, body=worker.Resolve),
    Edge("PUT", "/approval-rules/{rule}", update, body=edges.RulePatch, audit="rule.update"),
    Edge("DELETE", "/approval-rules/{rule}", delete, query=filters.Deletion, audit="rule.delete"),
]
