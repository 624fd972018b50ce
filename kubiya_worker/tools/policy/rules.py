"""This module decides whether a tool call may run, needs a person, or must not run, by the call and the rules. Pure.

Rules are the control plane's approval rules (protocol.md#a9), with two additions of ours: `action` (ask, allow or deny;
ask if absent) and `argument_pattern` (a regular expression, searched in the canonical JSON of the arguments; `pattern`
says what it may hold). The enabled rule with the highest priority that matches decides; of equal ones the strictest. A
call that no rule matches is allowed: what may be called at all is the business of the skills.

Whatever cannot be understood about a rule makes it ask, for every call: a misspelt rule must not be like none.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from kubiya_worker.protocol import messages
from kubiya_worker.protocol.tools import RISKS, ToolSpec
from kubiya_worker.tools.policy import pattern

Kind = Literal["allow", "ask", "deny"]

STRICTNESS: Final[Mapping[str, int]] = {"allow": 0, "ask": 1, "deny": 2}
SCOPES: Final = ("tool", "risk_level", "category", "all")
OTHER_TOOLS: Final = "other_tools"  # a scope of restrictions.py: every tool but those named in its value
DEFAULT_TIMEOUT_MINUTES: Final = 1_440
LONGEST_TIMEOUT_MINUTES: Final = 43_200
NO_RULE: Final = "no rule asks for approval"
CONFIRMS: Final = "a person decides each call of this tool that no rule allows"
_EFFECTS: Final[Mapping[str, str]] = {"write": "write", "exec": "run code", "egress": "send data out"}


@dataclass(frozen=True)
class Decision:
    """A decision: `kind` with its reason in one sentence; an ask also says whom to ask and for how long.

    `several`: more than one judge asks, so the rule alone must not approve the call (`auto_approve_roles`).
    """

    kind: Kind
    reason: str
    rule_id: str | None = None
    risk: str = "low"
    timeout_minutes: int = DEFAULT_TIMEOUT_MINUTES
    require_reason: bool = False
    approver_type: str | None = None
    approver_value: Any = None
    several: bool = False


@dataclass(frozen=True)
class _Rule:
    """One enabled rule; `fault` says what is wrong with a rule that could not be understood."""

    id: str | None
    name: str
    priority: float
    action: Kind
    scope: str
    value: str
    argument_pattern: str
    raw: Mapping[str, Any]
    fault: str = ""


def decide(
    spec: ToolSpec,
    arguments: Mapping[str, Any],
    rules: Iterable[Any],
    grant: Mapping[str, Any] | None = None,
    *,
    tainted: Sequence[str] = (),
    others: Iterable[Decision] = (),
) -> Decision:
    """Return the strictest decision.

    `grant` is a person's approval {approval_id, arguments_hash} for these arguments only.

    `tainted`: what others wrote may have led to the call, which can have these effects. An allow becomes an ask, also
    one that a rule has given: the rule does not know what the model has read. `others` is what further judges say (the
    external enforcer): the strictest word counts.
    """
    risk = spec.risk if spec.risk in RISKS else RISKS[-1]
    enabled = [rule for rule in map(_parse, rules) if rule is not None]
    text = messages.canonical(arguments)
    faulty = [rule for rule in enabled if rule.fault]
    matching = [rule for rule in enabled if not rule.fault and _matches(rule, spec, risk, text)]
    decision = Decision("ask", CONFIRMS, risk=risk) if spec.confirms else Decision("allow", NO_RULE, risk=risk)
    if matching:
        first = max(matching, key=lambda rule: (rule.priority, STRICTNESS[rule.action]))
        decision = _by(first, risk, f"{_verb(first.action)} by {first.name}")
    if faulty and decision.kind == "allow":
        worst = max(faulty, key=lambda rule: rule.priority)
        decision = _by(replace(worst, action="ask"), risk, f"{worst.name} cannot be understood ({worst.fault})")
    if tainted and decision.kind == "allow":
        reason = f"it can {_can(tainted)}, and the execution has read what others wrote"
        decision = Decision("ask", reason, risk=risk)
    elif tainted and decision.kind == "ask":
        decision = replace(decision, several=True)
    for other in others:
        decision = stricter(decision, other)
    if decision.kind == "ask" and grant is not None:
        return _granted(decision, spec, arguments, grant)
    return decision


def fault(raw: Any) -> str:
    """Return what cannot be understood about a rule; empty if it is correct or switched off."""
    rule = _parse(raw)
    return rule.fault if rule is not None else ""


def stricter(one: Decision, other: Decision) -> Decision:
    """Return the stricter decision; if both ask, ask once as `one` says, with both reasons."""
    if one.kind == other.kind == "ask":
        both = f"{one.reason}; {other.reason}"
        needs_reason = one.require_reason or other.require_reason
        return replace(one, reason=both, require_reason=needs_reason, several=True)
    return other if STRICTNESS[other.kind] > STRICTNESS[one.kind] else one


def _can(effects: Iterable[str]) -> str:
    return ", ".join(_EFFECTS.get(effect, effect) for effect in effects)


def _granted(decision: Decision, spec: ToolSpec, arguments: Mapping[str, Any], grant: Mapping[str, Any]) -> Decision:
    if not grant.get("approval_id"):
        return replace(decision, reason="the approval has no id")
    if grant.get("arguments_hash") != messages.arguments_hash(spec.name, arguments):
        return replace(decision, reason="the approval was given for other arguments")
    return replace(decision, kind="allow", reason=f"approved ({grant['approval_id']})")


def _by(rule: _Rule, risk: str, reason: str) -> Decision:
    minutes = rule.raw.get("timeout_minutes")
    valid = isinstance(minutes, int) and not isinstance(minutes, bool) and 0 < minutes <= LONGEST_TIMEOUT_MINUTES
    return Decision(
        rule.action,
        reason,
        rule_id=rule.id,
        risk=risk,
        timeout_minutes=minutes if valid and isinstance(minutes, int) else DEFAULT_TIMEOUT_MINUTES,
        require_reason=rule.raw.get("require_reason") is True,
        approver_type=rule.raw.get("approver_type"),
        approver_value=rule.raw.get("approver_value"),
    )


def _verb(action: Kind) -> str:
    return {"ask": "approval is required", "deny": "denied", "allow": "allowed"}[action]


def _parse(raw: Any) -> _Rule | None:
    """Return the rule, or None if it is switched off."""
    if not isinstance(raw, Mapping):
        return _Rule(None, "a rule", float("inf"), "ask", "all", "", "", {}, "it is not an object")
    if raw.get("enabled") is False:
        return None
    identity = str(raw["id"]) if raw.get("id") else None
    priority = raw.get("priority")
    number = 0.0 if priority is None else float(priority) if _is_number(priority) else float("inf")
    action = raw.get("action") or "ask"
    rule = _Rule(
        id=identity,
        name=f"the rule {raw.get('name') or identity or 'without a name'!s}",
        priority=number,
        action="allow" if action == "allow" else "deny" if action == "deny" else "ask",
        scope=str(raw.get("scope_type")),
        value=str(raw.get("scope_value") or "").strip(),
        argument_pattern=raw["argument_pattern"] if isinstance(raw.get("argument_pattern"), str) else "",
        raw=raw,
    )
    return replace(rule, fault=_fault(rule, raw))


def _fault(rule: _Rule, raw: Mapping[str, Any]) -> str:
    """Return what cannot be understood about the rule; empty if it is correct."""
    if raw.get("enabled", True) not in (True, None):
        return "enabled is neither true nor false"
    if rule.priority == float("inf"):
        return "its priority is not a number"
    action = raw.get("action") or "ask"
    if not isinstance(action, str) or action not in STRICTNESS:
        return "unknown action"
    if rule.scope not in (*SCOPES, OTHER_TOOLS):
        return "unknown scope type"
    if rule.scope != "all" and not rule.value:
        return "no scope value"
    if rule.scope == "risk_level" and rule.value.lower() not in RISKS:
        return "unknown risk level"
    wanted = raw.get("argument_pattern")
    if wanted is not None and not isinstance(wanted, str):
        return "argument_pattern is not a string"
    if wanted:
        try:
            pattern.compile(wanted)
        except pattern.PatternError as error:
            return f"argument_pattern: {error}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _matches(rule: _Rule, spec: ToolSpec, risk: str, text: str) -> bool:
    strict = rule.action != "allow"
    if rule.scope == "tool":
        # A rule against saving was written before files could be edited: it must not be passed by the newer tools.
        names = (spec.name, spec.ruled_as) if strict and spec.ruled_as else (spec.name,)
        if not any(_names(rule.value, name, strict) for name in names):
            return False
    if rule.scope == "risk_level":
        # A rule for a risk asks for greater ones too, and allows smaller ones too.
        here, limit = RISKS.index(risk), RISKS.index(rule.value.lower())
        if (here < limit) if strict else (here > limit):
            return False
    if rule.scope == OTHER_TOOLS and any(_names(value, spec.name, strict=False) for value in rule.value.split()):
        return False
    if rule.scope == "category" and rule.value.lower() != spec.category.lower():
        return False
    if not rule.argument_pattern:
        return True
    match = pattern.compile(rule.argument_pattern).search(text)
    return strict if match is None else match


def _names(value: str, name: str, strict: bool) -> bool:
    """Return whether tool names match, with * as a wildcard.

    `shell` also means a second shell skill's `ops_shell`, except in a rule that allows.
    """
    wanted, tool = value.lower(), name.lower()
    return fnmatch.fnmatchcase(tool, wanted) or (strict and tool.endswith(f"_{wanted}"))
