"""Requests of a run to a person as forms of MCP (elicitation), and what a filled-in form means. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

DECISION: Final = "decision"
APPROVE: Final = "approve"
DENY: Final = "deny"
ANSWER: Final = "answer"
COMMENT: Final = "comment"
_SHOWN: Final = 4_000  # characters of arguments


def is_question(approval: Mapping[str, Any]) -> bool:
    """Return whether the agent asks a question, in place of asking for an approval."""
    context = approval.get("enforcement_context")
    return isinstance(context, Mapping) and bool(context.get("question"))


def message(approval: Mapping[str, Any]) -> str:
    """Return what the person reads: the question, or the call with its arguments, risk and reason."""
    arguments = approval.get("tool_args") if isinstance(approval.get("tool_args"), Mapping) else {}
    assert isinstance(arguments, Mapping)
    if is_question(approval):
        options = arguments.get("options")
        hint = f"\nSuggested: {', '.join(map(str, options))}" if isinstance(options, list) and options else ""
        return f"The agent asks: {str(arguments.get('question') or '')[:_SHOWN]}{hint}"
    shown = json.dumps(dict(arguments), ensure_ascii=False, indent=1)[:_SHOWN]
    risk = f", risk {approval['risk_level']}" if approval.get("risk_level") else ""
    reason = f"\nReason: {str(approval['reason'])[:500]}" if approval.get("reason") else ""
    return f"The agent wants to call {approval.get('tool_name')}{risk}:\n{shown}{reason}"


def form(approval: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the form: flat, of plain types, as MCP wants it."""
    if is_question(approval):
        return {
            "type": "object",
            "properties": {ANSWER: {"type": "string", "title": "Answer", "minLength": 1}},
            "required": [ANSWER],
        }
    return {
        "type": "object",
        "properties": {
            DECISION: {"type": "string", "title": "Decision", "enum": [APPROVE, DENY]},
            COMMENT: {"type": "string", "title": "Comment"},
        },
        "required": [DECISION],
    }


def decision(approval: Mapping[str, Any], action: str, content: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return (verb, body) for the API, or an empty verb where the person has not decided.

    Only a form that is filled in and sent decides. One that is closed or declined leaves the request in the inbox.
    """
    if action != "accept" or not content:
        return "", {}
    if is_question(approval):
        answer = str(content.get(ANSWER) or "").strip()
        return (APPROVE, {"answer": answer}) if answer else ("", {})
    comment = str(content.get(COMMENT) or "").strip()
    if content.get(DECISION) == APPROVE:
        return APPROVE, {"comment": comment}
    if content.get(DECISION) == DENY:
        return "reject", {"reason": comment}
    return "", {}
