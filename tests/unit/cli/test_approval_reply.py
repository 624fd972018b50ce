"""A line, --approve and --deny say one thing to an approval, and never more than they stand for."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.cli import approval_reply as reply
from kubiya_worker.cli.approval_reply import Reply, prompt_for, standing_reply, typed_reply
from kubiya_worker.protocol import names

TOOL: dict[str, Any] = {"tool_name": "shell", "tool_args": {"command": "ls"}}
QUESTION: dict[str, Any] = {
    "tool_name": "ask_person",
    "tool_args": {"question": "Which host?", "options": ["web-1", "web-2"]},
    "enforcement_context": {"question": {"question": "Which host?", "options": ["web-1", "web-2"]}},
}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("y", Reply(reply.APPROVE)),
        (" YES \n", Reply(reply.APPROVE)),
        ("n", Reply(reply.REJECT)),
        ("No", Reply(reply.REJECT)),
        ("e", Reply(reply.EDIT)),
        ("", Reply(reply.AGAIN)),
        ("  ", Reply(reply.AGAIN)),
        ("not on a Friday", Reply(reply.REJECT, "not on a Friday")),
        ("yes, but", Reply(reply.REJECT, "yes, but")),
    ],
)
def test_a_line_at_a_tool_approves_rejects_edits_or_says_why_not(line: str, said: Reply) -> None:
    assert typed_reply(line, TOOL) == said


@pytest.mark.parametrize(
    ("line", "answer"), [("2", "web-2"), ("3", "3"), ("0", "0"), ("-1", "-1"), ("n", "n"), ("web-1 ", "web-1")]
)
def test_a_line_at_a_question_is_its_answer_or_the_number_of_an_option(line: str, answer: str) -> None:
    assert typed_reply(line, QUESTION) == Reply(reply.APPROVE, answer)


def test_approve_stands_for_tools_and_for_nothing_else() -> None:
    granted = standing_reply(reply.GRANT, TOOL)
    assert granted is not None and granted.decision == reply.APPROVE
    for name in (names.RAISE_BUDGET, names.GO_ON):
        refused = standing_reply(reply.GRANT, {"tool_name": name})
        assert refused is not None and refused.decision == reply.REJECT and refused.notice.startswith("not granted")
    refused = standing_reply(reply.GRANT, QUESTION)
    assert refused is not None and refused.decision == reply.REJECT and refused.notice.startswith("not answered")


def test_deny_rejects_all_and_a_person_is_asked_otherwise() -> None:
    for request in (TOOL, QUESTION, {"tool_name": names.RAISE_BUDGET}):
        denied = standing_reply(reply.DENY, request)
        assert denied is not None and (denied.decision, denied.notice) == (reply.REJECT, "")
        assert standing_reply(reply.ASK, request) is None


def test_a_prompt_names_the_tool_on_one_line() -> None:
    assert prompt_for({"tool_name": "a\nb" * 100}).count("\n") == 0
    assert prompt_for(TOOL) == "  run shell? [y]es, [n]o, [e]dit, or say why not: "
    assert prompt_for(QUESTION) == "  your answer: "
