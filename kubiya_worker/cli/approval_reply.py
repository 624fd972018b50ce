"""Decide how an approval is answered from the command line: by a person's line, or by --approve and --deny. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.cli.render import is_question, options_of
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.protocol import names

ASK, GRANT, DENY = "ask", "grant", "deny"
APPROVE, REJECT, EDIT, AGAIN = "approve", "reject", "edit", "again"

# What --approve does not stand for: a notice for the person, and the reason that the agent hears.
NOT_GRANTED: Final = {
    names.RAISE_BUDGET: (
        "not granted: --approve is for tools, not for more budget",
        "kubiya exec --approve does not raise budgets",
    ),
    names.GO_ON: (
        "not granted: --approve is for tools, not for a call that fails again and again",
        "kubiya exec --approve does not decide this",
    ),
}


@dataclass(frozen=True)
class Reply:
    """The answer to an approval: APPROVE, REJECT, EDIT (the arguments first) or AGAIN (nothing was said)."""

    decision: str
    text: str = ""  # the comment of an approval, the reason of a rejection, the answer to a question
    notice: str = ""


def standing_reply(manner: str, request: dict[str, Any]) -> Reply | None:
    """Return the reply that GRANT or DENY gives to a request; None where a person is asked."""
    if manner == DENY:
        return Reply(REJECT, "kubiya exec --deny")
    if manner != GRANT:
        return None
    if (refused := NOT_GRANTED.get(str(request.get("tool_name")))) is not None:
        return Reply(REJECT, refused[1], refused[0])
    if is_question(request):
        why = "nobody is there to answer (kubiya exec --approve)"
        return Reply(REJECT, why, "not answered: --approve is for tools, not for questions")
    return Reply(APPROVE, "kubiya exec --approve", "granted, as --approve says")


def typed_reply(line: str, request: dict[str, Any]) -> Reply:
    """Return what a person's line says to a request. At a question the number of an option stands for the option."""
    text = line.strip()
    if not text:
        return Reply(AGAIN)
    if is_question(request):
        options = options_of(request)
        return Reply(APPROVE, options[int(text) - 1] if text.isdecimal() and 1 <= int(text) <= len(options) else text)
    match text.lower():
        case "y" | "yes":
            return Reply(APPROVE)
        case "n" | "no":
            return Reply(REJECT)
        case "e" | "edit":
            return Reply(EDIT)
    return Reply(REJECT, text)


def prompt_for(request: dict[str, Any]) -> str:
    """Return the text that stands before the cursor while a request waits for a person's line."""
    if is_question(request):
        return "  your answer: "
    return f"  run {one_line(str(request.get('tool_name')), 60)}? [y]es, [n]o, [e]dit, or say why not: "


def command_for(approval_id: str, request: dict[str, Any]) -> str:
    """Return the command that answers a request from another terminal."""
    if is_question(request):
        return f'kubiya approvals answer {approval_id} "…"   (or deny)'
    return f"kubiya approvals approve {approval_id}   (or deny, edit)"
