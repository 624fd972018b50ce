"""A team as the person and the machine see it: who does what, and how deep."""

from __future__ import annotations

from typing import Any

from kubiya_worker.cli import ndjson
from kubiya_worker.cli.progress import ExecutionProgress
from kubiya_worker.cli.render import Renderer
from kubiya_worker.cli.stream import Frame
from kubiya_worker.cli.terminal import Paint
from kubiya_worker.protocol import events as ev


def member(kind: str, path: tuple[str, ...] = ("triage", "logs"), **data: Any) -> Frame:
    about = {"member_name": path[-1], "member_path": list(path), "source": "team_member"}
    return Frame(kind, {**data, **about}, sequence=1, timestamp="t")


FRAMES = [
    Frame(
        ev.TOOL_STARTED,
        {
            "tool_name": "ask_logs",
            "delegate": "logs",
            "tool_execution_id": "c1",
            "tool_arguments": {"task": "Find errors.", "context": "long"},
        },
    ),
    member(ev.MEMBER_MESSAGE_CHUNK, content="I will", message_id="e.1_assistant_1"),
    member(ev.MEMBER_MESSAGE_COMPLETE, content="I will look.", role="assistant", message_id="e.1_assistant_1"),
    member(ev.MEMBER_TOOL_STARTED, tool_name="shell", tool_execution_id="e.1:c1", tool_arguments={"command": "grep x"}),
    member(
        ev.MEMBER_TOOL_COMPLETED, tool_name="shell", tool_execution_id="e.1:c1", status="success", tool_output="found"
    ),
    member(
        ev.MEMBER_MESSAGE_COMPLETE,
        ("triage", "inner", "deep"),
        content="Deep.\nTwo.",
        role="assistant",
        message_id="e.1.1_a",
    ),
    Frame(
        ev.TOOL_COMPLETED,
        {
            "tool_name": "ask_logs",
            "delegate": "logs",
            "tool_execution_id": "c1",
            "status": "success",
            "tool_output": "All is well.",
        },
    ),
]


def test_members_show_under_their_names_and_as_far_in_as_they_are_deep() -> None:
    renderer, progress = Renderer(Paint(unicode=False)), ExecutionProgress()
    text = ""
    for frame in FRAMES:
        progress.apply(frame)
        text += renderer.feed(frame, progress)
    assert text.splitlines() == [
        "  > logs  Find errors.",
        "    logs | I will look.",
        "    logs | > shell  grep x",
        "    logs |   ok shell found",
        "      deep | Deep.",
        "      deep | Two.",
        "    ok All is well.",
    ]
    assert (progress.steps, progress.tool_calls, progress.answer) == (2, 2, "")


def test_an_approval_says_for_whom_it_is() -> None:
    asked = member(
        ev.APPROVAL_REQUESTED, ("triage", "writer"), tool_name="save_file", tool_args={"path": "a"}, approval_id="1"
    )
    text = Renderer(Paint(unicode=False)).feed(asked, ExecutionProgress())
    assert "    for: triage -> writer\n" in text


def test_json_lines_of_members_are_those_of_an_agent_with_the_members_name() -> None:
    line = ndjson.line_of(FRAMES[3], "e", verbose=True)
    assert line is not None
    assert (line["type"], line["tool"]) == ("tool_started", {"name": "shell", "inputs": {"command": "grep x"}})
    assert line["metadata"] == {"tool_execution_id": "e.1:c1", "member_name": "logs", "member_path": ["triage", "logs"]}
