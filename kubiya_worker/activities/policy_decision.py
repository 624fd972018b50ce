"""The policy decision on one tool call: rules of the control plane and the host, taint, the external enforcer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kubiya_worker.activities.authority import Authority
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.step_resources import toolset_of
from kubiya_worker.protocol import calls, messages, taint
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.policy import enforcer, rules

QUESTION: Final = rules.Decision("ask", "the agent asks a person", timeout_minutes=rules.LONGEST_TIMEOUT_MINUTES)
_WORDS: Final[Mapping[rules.Kind, str]] = {"allow": "allowed", "ask": "needs_approval", "deny": "denied"}


@dataclass(frozen=True)
class Ruling:
    """The ruling on one call. `decision` is the strictest one, a person's approval included.

    `enforcement` is the part of the ruling that events show.
    """

    decision: rules.Decision
    verdict: enforcer.Verdict | None
    enforcement: dict[str, Any]

    @property
    def text(self) -> str:
        """Return the text of a denial, for the model and for people."""
        if self.verdict is not None and self.verdict.fault:
            return f"Refused: {self.decision.reason}. No policy denies the call: it may be tried again later."
        return f"Denied by policy: {self.decision.reason}"


async def rule(
    runtime: Runtime, call: calls.ToolInput, context: calls.Context, spec: ToolSpec, arguments: Mapping[str, Any]
) -> Ruling:
    """Rule on a call. The enforcer is asked unless the rules deny it, also for a call that a person has allowed."""
    guarded = taint.guarded(context.taint, spec) if call.tainted else ()
    redactor = runtime.redactor_of(call.execution_id)
    grant = vars(call.grant) if call.grant else None
    # The host's rules only add to what the control plane's say: a tool's own default is asked for once, below.
    others = [rules.decide(replace(spec, confirms=False), arguments, runtime.rules)] if runtime.rules else []
    if context.denials:  # what the configuration does not permit; no rule of now lifts it
        others.append(rules.decide(replace(spec, confirms=False), arguments, context.denials))
    others += [QUESTION] if spec.asks else []
    authority = await runtime.authorities.of(context)
    toolset = await toolset_of(runtime, call.execution_id, context)
    others += _withdrawn(authority, toolset.skills.get(call.tool_name, ""), spec)
    decision, verdict = rules.decide(spec, arguments, authority.rules, grant, tainted=guarded, others=others), None
    if runtime.enforcer is not None and decision.kind != "deny":
        question = enforcer.question(
            spec,
            redactor.value(dict(arguments)),
            context,
            execution_id=call.execution_id,
            tool_execution_id=call.tool_execution_id,
            tainted=call.tainted,
            approval={"approval_id": call.grant.approval_id, "approver": call.grant.approver} if call.grant else None,
        )
        verdict = await runtime.enforcer.ask(question)
        others.append(verdict.decision(decision.risk))
        decision = rules.decide(spec, arguments, authority.rules, grant, tainted=guarded, others=others)
    enforcement = _enforcement(decision, verdict, call.grant)
    if enforcement:  # the hash is that of the arguments as they were, which no event shows
        enforcement |= authority.about() | {"arguments_hash": messages.arguments_hash(spec.name, arguments)}
    enforcement |= {"question": True} if spec.asks else {}
    return Ruling(decision, verdict, redactor.value(enforcement))


def _withdrawn(authority: Authority, skill_id: str, spec: ToolSpec) -> list[rules.Decision]:
    """Return the denials that come from what was taken back since the execution began: all agents, or this skill."""
    denials = []
    if authority.stopped is not None:
        by, reason = authority.stopped.get("by") or {}, authority.stopped.get("reason")
        who = by.get("name") or by.get("email") or "a person"
        denials.append(rules.Decision("deny", f"all agents were stopped by {who}: {reason}", risk=spec.risk))
    if authority.removed(skill_id):
        denials.append(rules.Decision("deny", "its skill was taken away from this agent", risk=spec.risk))
    return denials


def _enforcement(
    decision: rules.Decision, verdict: enforcer.Verdict | None, grant: calls.Grant | None
) -> dict[str, Any]:
    """Return the decision for events; an empty object where no rule, enforcer or person was involved."""
    if verdict is None and grant is None and decision.reason == rules.NO_RULE:
        return {}
    reason = verdict.reason if verdict is not None and decision.reason == rules.NO_RULE else decision.reason
    return {
        "decision": _WORDS[decision.kind],
        "allow": decision.kind == "allow",
        "reason": reason,
        **({"rule_id": decision.rule_id} if decision.rule_id else {}),
        **({"require_reason": True} if decision.require_reason and decision.kind == "ask" else {}),
        **({"several_judges": True} if decision.several and decision.kind == "ask" else {}),
        **(verdict.event_fields() if verdict is not None else {}),
        **({"approval_id": grant.approval_id, "approver": grant.approver} if grant else {}),
    }
