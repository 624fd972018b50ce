"""This module makes a test of a run: what it ran with, what was said and returned, and what is expected. Pure.

Events are redacted by the worker, as all transcripts are. What else looks like a credential, in a prompt or in a
definition, is taken out here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Final

from kubiya_worker import credentials
from kubiya_worker.cli.run_calls import NOT_RUN, CallMade, RunReading
from kubiya_worker.cli.run_test_file import APPROVED, KIND, REJECTED
from kubiya_worker.tools.redaction import Redactor

Object = dict[str, Any]
EXPIRED: Final = "expired"
SHORT: Final = 200  # characters of an answer that is expected as a whole
MOST_FACTS: Final = 6
_FACT: Final = re.compile(
    r"`([^`\n]{2,80})`|(?<![\w/])(/[\w./+@-]{3,})|(?<![\w.])(\d+(?:[.,]\d+)*\s?%|\d+(?:[.,]\d+)+|\d{2,})"
)


def document(
    name: str,
    run: Mapping[str, Any],
    reading: RunReading,
    definitions: Sequence[Mapping[str, Any]],
    approvals: Sequence[Mapping[str, Any]],
    whole: Mapping[str, str],
    secrets: Sequence[str] = (),
) -> Object:
    """Return the test as {kind, name, spec}.

    `whole` has what the model read of a call, where more of it is known than its event says. `secrets` are values that
    the test must not contain, beside those that are found.
    """
    prompts = reading.prompts or [str(run.get("prompt") or "")]
    kind = "team" if run.get("execution_type") == "team" else "agent"
    answer = str(run.get("response") or "")
    questions = {each["tool_name"] for each in approvals if (each.get("enforcement_context") or {}).get("question")}
    spec: Object = {
        kind: str(run.get("entity_name")),
        "prompts": prompts,
        **({"system_prompt": run["system_prompt"]} if run.get("system_prompt") else {}),
        "definitions": [dict(each) for each in definitions],
        "model": [
            {"agent": each.agent, **({"task": each.task} if each.task else {}), "steps": each.answers}
            for each in reading.runs
        ],
        "tools": [_played(each, whole.get(each.key)) for each in reading.calls if _returned(each, questions)],
        "answers": [_answered(each) for each in approvals if each.get("status") in (APPROVED, REJECTED, EXPIRED)],
        "expect": {
            "status": str(run.get("status")),
            "answer_contains": facts(answer, reading.calls),
            "calls": [_expected(call) for call in reading.calls],
        },
        "recorded": {
            "execution": str(run.get("id")),
            "at": str(run.get("created_at") or ""),
            "model": ", ".join(reading.models),
            "answer": answer,
        },
    }
    hidden = [*secrets, *_credentials(spec, "")]
    return {"kind": KIND, "name": name, "spec": Redactor(hidden).value(spec) if hidden else spec}


def _returned(call: CallMade, questions: Set[str]) -> bool:
    """Return whether a tool returned a result; calls that were refused, asked about or handed on are decided anew."""
    return call.began and not call.delegate and call.tool not in questions and call.outcome not in ("", *NOT_RUN)


def _played(call: CallMade, whole: str | None) -> Object:
    output = call.output if whole is None else whole
    result = {"agent": call.agent, "tool": call.tool, "arguments": call.arguments or {}, "output": output}
    return {**result, "error": call.error} if call.error else result


def _answered(approval: Mapping[str, Any]) -> Object:
    arguments, edited = approval.get("tool_args") or {}, approval.get("edited_args")
    decision = APPROVED if approval["status"] == APPROVED else REJECTED  # nobody waits once more until one expires
    answer: Object = {"tool": approval["tool_name"], "arguments": arguments, "decision": decision}
    if edited and (
        edited.get("answer") is not None and {k: v for k, v in edited.items() if k != "answer"} == arguments
    ):
        answer["answer"] = edited["answer"]
    elif edited:
        answer["edited"] = edited
    reason = approval.get("rejection_reason") or approval.get("comment")
    return {**answer, "reason": reason} if reason and "answer" not in answer else answer


def _expected(call: CallMade) -> Object:
    expectation: Object = {"agent": call.agent, "tool": call.tool}
    expectation |= {"arguments": call.arguments} if isinstance(call.arguments, dict) and call.arguments else {}
    return {**expectation, "outcome": call.told} if call.told and call.told != EXPIRED else expectation


def facts(answer: str, calls: Sequence[CallMade]) -> list[str]:
    """Return what another wording of the answer has to say too: figures, paths and names that tools have told.

    Without such, it is the answer if it is short, else its first line.
    """
    texts = "\n".join(f"{call.arguments}\n{call.output}" for call in calls)
    facts_found: dict[str, None] = {}
    for match in _FACT.finditer(answer):
        fact = next(group for group in match.groups() if group).strip().rstrip(".")
        if fact in texts:
            facts_found.setdefault(fact)
    if facts_found:
        return list(facts_found)[:MOST_FACTS]
    plain = answer.strip()
    return [plain if len(plain) <= SHORT else plain.splitlines()[0][:SHORT]] if plain else []


def _credentials(value: Any, name: str) -> Iterator[str]:
    """Yield what looks like a credential, by its name or its shape."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _credentials(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _credentials(inner, name)
    elif isinstance(value, str):
        yield from credentials.certain(name, value)
        yield from credentials.of_text(value)


def needed(
    kind: str, name: str, reading: RunReading, documents: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the definitions that a run needs.

    These are its agent or team, the members, the agents that were asked, the environments, and the rules that hold.
    """
    by_name = {(each["kind"], each["name"]): each for each in documents}
    wanted: list[Mapping[str, Any]] = []
    left = [(kind.capitalize(), name), *(("Agent", each.agent) for each in reading.runs if each.agent != name)]
    while left:
        definition = by_name.get(left.pop(0))
        if definition is None or definition in wanted:
            continue
        wanted.append(definition)
        spec = definition.get("spec") or {}
        configuration = spec.get("configuration") or {}
        members = [*(configuration.get("member_ids") or ()), configuration.get("leader_id")]
        left += [(of, str(member)) for member in members if member for of in ("Agent", "Team")]
        left += [("Environment", str(each)) for each in spec.get("environment_ids") or ()]
    order = ("Environment", "Agent", "Team")
    wanted.sort(key=lambda each: order.index(each["kind"]))
    rules = [each for each in documents if each["kind"] == "Rule" and (each.get("spec") or {}).get("enabled", True)]
    return [*wanted, *rules]


def as_it_was(document: Mapping[str, Any], versions: Sequence[Mapping[str, Any]], at: str) -> Mapping[str, Any]:
    """Return a definition as it was at a time, by its versions (newest first); as it is now where none tells more."""
    if not any(str(each.get("at")) > at for each in versions):
        return document
    before = [each for each in versions if str(each.get("at")) <= at]
    spec = before[0].get("spec") if before else None
    return {**document, "spec": spec} if spec is not None else document
