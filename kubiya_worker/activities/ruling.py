"""The policy decision on one tool call: rules of the control plane and the host, taint, the external enforcer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.protocol import calls, taint
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import enforcer, policy

QUESTION: Final = policy.Decision("ask", "the agent asks a person", timeout_minutes=policy.LONGEST_TIMEOUT_MINUTES)
_WORDS: Final[Mapping[policy.Kind, str]] = {"allow": "allowed", "ask": "needs_approval", "deny": "denied"}


@dataclass(frozen=True)
class Ruling:
    """The ruling on one call. `decision` is the strictest one, a person's approval included.

    `enforcement` is the part of the ruling that events show.
    """

    decision: policy.Decision
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
    others = [policy.decide(replace(spec, confirms=False), arguments, runtime.rules)] if runtime.rules else []
    others += [QUESTION] if spec.asks else []
    decision, verdict = policy.decide(spec, arguments, context.rules, grant, tainted=guarded, others=others), None
    if runtime.enforcer is not None and decision.kind != "deny":
        asked = enforcer.question(
            spec,
            redactor.value(dict(arguments)),
            context,
            execution_id=call.execution_id,
            tool_execution_id=call.tool_execution_id,
            tainted=call.tainted,
            approval={"approval_id": call.grant.approval_id, "approver": call.grant.approver} if call.grant else None,
        )
        verdict = await runtime.enforcer.ask(asked)
        others.append(verdict.decision(decision.risk))
        decision = policy.decide(spec, arguments, context.rules, grant, tainted=guarded, others=others)
    told = _told(decision, verdict, call.grant) | ({"question": True} if spec.asks else {})
    return Ruling(decision, verdict, redactor.value(told))


def _told(decision: policy.Decision, verdict: enforcer.Verdict | None, grant: calls.Grant | None) -> dict[str, Any]:
    """Return the decision for events; an empty object where no rule, enforcer or person was involved."""
    if verdict is None and grant is None and decision.reason == policy.NO_RULE:
        return {}
    reason = verdict.reason if verdict is not None and decision.reason == policy.NO_RULE else decision.reason
    return {
        "decision": _WORDS[decision.kind],
        "allow": decision.kind == "allow",
        "reason": reason,
        **({"rule_id": decision.rule_id} if decision.rule_id else {}),
        **(verdict.about() if verdict is not None else {}),
        **({"approval_id": grant.approval_id, "approver": grant.approver} if grant else {}),
    }
