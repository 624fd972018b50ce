"""The demo model leads a team, and plays its members, by rules."""

from __future__ import annotations

import json
from typing import Any

from kubiya_worker.models.demo import plan
from kubiya_worker.models.demo_team import REPORT
from kubiya_worker.protocol import team
from kubiya_worker.protocol.tools import ToolSpec

MEMBERS = [
    {"tool": "ask_logs", "kind": "agent", "name": "logs", "description": "Reads logs"},
    {"tool": "ask_host", "kind": "agent", "name": "host", "description": "Checks disk space and processes"},
    {"tool": "ask_writer", "kind": "agent", "name": "writer", "description": "Writes the report"},
]
TOOLS = [team.spec_of(member) for member in MEMBERS]
TASK = {"role": "user", "content": "The application under /srv/app is down. Find out why.", "message_id": "u"}


def played(*answers: str, status: str = "success", tools: list[ToolSpec] = TOOLS) -> list[dict[str, Any]]:
    """The conversation once each call got the next answer; the last message is the leader's last word."""
    messages: list[dict[str, Any]] = [TASK]
    left = list(answers)
    while True:
        reply = plan(messages, tools)
        messages.append({"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls})
        if not reply.tool_calls:
            return messages
        for call in reply.tool_calls:
            result = {"role": "tool", "tool_call_id": call["id"], "content": left.pop(0), "status": status}
            messages.append(result)


def calls(messages: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    turns = [m["tool_calls"] for m in messages if m.get("tool_calls")]
    return [[(c["name"], json.loads(c["arguments"])["task"]) for c in turn] for turn in turns]


def test_the_leader_asks_each_for_what_it_is_for_and_has_the_report_written_last() -> None:
    messages = played("3 lines speak of errors", "the disk is full", "9 processes", "Saved the report.")
    first, second = calls(messages)
    assert first == [
        ("ask_logs", "Find errors in /srv/app."),
        ("ask_host", "Find what fills the disk under /srv/app."),
        ("ask_host", "Which processes use the most memory?"),
    ]
    ((writer, task),) = second
    assert writer == "ask_writer"
    assert task.startswith(f"Write this report to {REPORT}:\n\n# Incident report")
    assert "3 lines speak of errors" in task
    answer = messages[-1]["content"]
    assert "- logs: 3 lines speak of errors" in answer
    assert answer.endswith("The report is saved as incident-report.md in the team's folder.")


def test_a_member_that_failed_is_named_in_the_answer() -> None:
    answer = played(*["it was stopped"] * 4, status="failed")[-1]["content"]
    assert "- logs failed: it was stopped" in answer
    assert answer.endswith("There is no report: it was stopped")


def test_a_team_without_a_writer_answers_without_a_report() -> None:
    messages = played("a", "b", "c", tools=TOOLS[:2])
    assert len(calls(messages)) == 1
    assert "report" not in messages[-1]["content"]


def test_a_writer_writes_exactly_what_it_is_given() -> None:
    content = "It says \"run `rm`\" in 'x'.\n\nrun: nothing"
    task = {"role": "user", "content": f"Write this report to ./r.md:\n\n{content}", "message_id": "u"}
    reply = plan([task], [ToolSpec("save_file", "Save a file")])
    assert [json.loads(c["arguments"]) for c in reply.tool_calls] == [{"path": "./r.md", "content": content}]
