"""`kubiya runs`: lists with filters and pages, one run with its steps, its lines, its end, and the same once more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.cli.api import runs as runs_api
from kubiya_worker.cli.run_steps import steps_of
from kubiya_worker.cli.run_transcript import fenced
from tests.support.api import Api
from tests.support.commands import Commands

TURN = (
    ("run_started", "00", {"run_id": "r", "execution_id": "x", "cancellable": True, "model": "m", "model_label": "M"}),
    ("message", "00", {"role": "user", "content": "Look.", "message_id": "u1", "user_name": "Ada"}),
    (
        "message",
        "02",
        {
            "role": "assistant",
            "content": "I look.",
            "message_id": "a1",
            "model": "m",
            "tool_calls": [{"id": "t1"}],
            "usage": {"total_tokens": 1200, "cost_usd": 0.0125},
        },
    ),
    ("approval_requested", "03", {"approval_id": "p1", "tool_name": "shell", "tool_args": {"command": "df -h"}}),
    ("approval_resolved", "33", {"approval_id": "p1", "status": "approved", "approved_by_name": "Bo"}),
    ("tool_started", "33", {"tool_execution_id": "t1", "tool_name": "shell", "tool_arguments": {"command": "df -h"}}),
    (
        "tool_completed",
        "35",
        {
            "tool_execution_id": "t1",
            "tool_name": "shell",
            "status": "success",
            "outcome": "success",
            "duration_seconds": 1.5,
            "tool_output": "```/dev/sda1 91%```",
        },
    ),
    ("message", "38", {"role": "assistant", "content": "It is **full**.", "message_id": "a2", "model": "m"}),
)


def played(api: Api, *, status: str = "completed", **fields: Any) -> str:
    """Return an execution that went through a turn with a tool and an approval."""
    execution = api.execute(**fields)
    for number, (kind, second, data) in enumerate(TURN):
        event = {"event_type": kind, "timestamp": f"2026-11-29T00:00:{second}+00:00", "data": data}
        api.call("POST", f"/executions/{execution}/events", {**event, "event_id": f"e{number}"})
    usage = {"total_tokens": 1200, "input_tokens": 1000, "output_tokens": 200, "cost_usd": 0.0125}
    if status:
        body = {"status": status, "response": "It is **full**.", "usage": usage}
        api.call("PATCH", f"/executions/{execution}", body)
    return execution


def test_a_list_has_heads_and_finds_what_the_filters_say(plane: Api, kubiya: Commands) -> None:
    one = played(plane, prompt="Which disks are full?")
    other = plane.execute(prompt="Something else")
    shown = kubiya("runs", "ls").out.splitlines()
    assert shown[0].split() == ["ID", "STATUS", "AGENT", "AGE", "TOOK", "TOKENS", "COST", "PROMPT"]
    assert shown[1].startswith(other[:8]) and "Something else" in shown[1]
    assert "1,200" in shown[2] and "$0.0125" in shown[2]
    wide = kubiya("runs", "ls", "-o", "wide").out
    assert one in wide and "QUEUE" in wide and "PERSON" in wide
    for filters in (["--text", "DISKS"], ["--status", "completed", "--agent", "ops"], ["--text", one[:9]]):
        assert [row["id"] for row in kubiya("runs", "ls", "-o", "json", *filters).json] == [one], filters
    assert kubiya("runs", "ls", "--since", "1h", "--queue", "default", "--person", "local", "-o", "json").json
    assert kubiya("runs", "ls", "--until", "1h").err == "No execution fits.\n"
    assert "status: pending" in kubiya("runs", "ls", "-o", "yaml", "-n", "1").out
    assert "There is no agent or team 'nobody'" in kubiya("runs", "ls", "--agent", "nobody", code=64).err
    gone = plane.agent(name="to be deleted")
    plane.call("DELETE", f"/agents/{gone['id']}")
    assert kubiya("runs", "ls", "--agent", gone["id"], "-o", "json").json == []  # its executions may be there
    assert "Did you mean failed?" in kubiya("runs", "ls", "--status", "faild", code=78).err


def test_pages_go_on_to_the_last_one(plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_api, "PAGE", 2)
    made = [plane.execute(prompt="one of five") for _ in range(5)]
    every = ["runs", "ls", "--text", "one of five", "-o", "json"]
    assert [row["id"] for row in kubiya(*every, "--all").json] == made[::-1]
    assert [row["id"] for row in kubiya(*every, "--all", "--oldest").json] == made
    first = kubiya(*every, "--limit", "3")
    cursor = first.err.split("--cursor ")[1].strip()
    rest = kubiya(*every, "--cursor", cursor).json
    assert [row["id"] for row in [*first.json, *rest]] == made[::-1]


def test_a_run_is_shown_with_its_steps_tokens_cost_and_times(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = played(plane)
    told = kubiya("runs", "show", execution[:10], "-o", "json").json
    assert told["id"] == execution
    assert [(step["kind"], step["name"], step.get("seconds")) for step in told["steps"]] == [
        ("person", "Ada", None),
        ("model", "m", 2.0),
        ("approval", "shell", 30.0),
        ("tool", "shell", 1.5),
        ("model", "m", 3.0),
    ]
    assert told["steps"][1]["tokens"] == 1200 and told["steps"][1]["cost_usd"] == 0.0125
    assert told["steps"][2]["detail"] == {"by": "Bo"}
    text = kubiya("runs", "show", execution[:10]).out
    assert "1,200 (1,000 in, 200 out)" in text and "df -h by Bo" in text and "$0.0125" in text
    assert "STEP" in text and text.rstrip().endswith("It is **full**.")
    assert any(line.startswith("asked ") and line.rstrip()[-6] in "+-" for line in text.splitlines()), "with the zone"


def test_the_beginning_of_an_id_is_enough_and_several_are_listed(plane: Api, kubiya: Commands) -> None:
    row = plane.plane.stores.executions.get("local", plane.execute())
    assert row is not None
    for number in (1, 2):
        plane.plane.stores.executions.create({**row, "id": f"same-{number}"}, own={})
    told = kubiya("runs", "show", "same-", code=64).err
    assert "2 executions begin with 'same-'" in told and "same-1, same-2" in told
    assert kubiya("runs", "show", "same-1", "-o", "json").json["id"] == "same-1"
    assert "at least 4 characters" in kubiya("runs", "show", "zz", code=64).err
    assert "kubiya runs ls" in kubiya("runs", "show", "nothing-like-it", code=64).err


def test_one_says_something_to_a_run_that_is_over(plane: Api, kubiya: Commands) -> None:
    execution = played(plane)
    told = kubiya("runs", "say", execution[:10], "And the other one?").out
    assert told == f"The execution goes on with the message: {execution}, ops\n"
    assert kubiya("runs", "say", execution[:10], "And a third?").out.startswith("The message was given to")
    row = plane.call("GET", f"/executions/{execution}")
    assert (row["status"], row["last_message_preview"]) == ("pending", "And a third?")
    assert "The prompt is empty" in kubiya("runs", "say", execution, " ", code=64).err


def test_a_run_is_forked_at_the_number_that_show_prints(plane: Api, kubiya: Commands) -> None:
    execution = played(plane)
    said = [data for kind, _, data in TURN if kind == "message"]
    plane.call("POST", f"/executions/{execution}/session", {"messages": [{"timestamp": "t", **x} for x in said]})
    shown = kubiya("runs", "show", execution[:10]).out
    line = next(each for each in shown.splitlines() if "It is **full**." in each and " model " in each)
    number = line.split()[0]
    assert [s["number"] for s in kubiya("runs", "show", execution, "-o", "json").json["steps"]][-1] == int(number)
    done = kubiya("runs", "fork", execution[:10], "--at", number, "--prompt", "Only /var.", "--model", "m-2")
    made = done.out.strip()
    row = plane.call("GET", f"/executions/{made}")
    assert (row["prompt"], row["request"]["model_id"]) == ("Only /var.", "m-2") and made in done.err
    assert f"{execution}, from its step {number} on" in kubiya("runs", "show", made).out
    assert "is no step" in kubiya("runs", "fork", execution, "--at", "1", code=78).err
    assert "--at" in kubiya("runs", "fork", execution, code=64).err


def test_logs_print_what_happened_with_times(plane: Api, kubiya: Commands) -> None:
    execution = played(plane)
    text = kubiya("runs", "logs", execution[:10]).out
    assert "shell  df -h" in text and "/dev/sda1 91%" in text and text.rstrip().endswith("It is **full**.")
    timed = kubiya("runs", "logs", "-t", execution).out.splitlines()
    assert all(line[:4].isdecimal() and line[10] == " " for line in timed), timed
    assert "> Ada: Look." in text, "who said it"
    lines = [json.loads(line) for line in kubiya("runs", "logs", "-o", "json", execution).out.splitlines()]
    assert [line["type"] for line in lines].count("tool_completed") == 1
    assert kubiya("runs", "logs", "-f", execution).out == text, "the stream says the same"
    failed = played(plane, status="failed")
    assert kubiya("runs", "logs", "-f", failed, code=1).out
    assert "so far; it is pending" in kubiya("runs", "logs", played(plane, status="")).out


def test_a_run_that_is_over_can_be_watched(plane: Api, kubiya: Commands) -> None:
    execution = played(plane)
    assert kubiya("runs", "watch", execution[:10]).out.strip() == "It is **full**."
    assert kubiya("exec", "attach", execution[:10]).out.strip() == "It is **full**."


def test_runs_are_cancelled_with_a_reason(plane: Api, kubiya: Commands) -> None:
    one, two = plane.execute(), plane.execute()
    said = kubiya("runs", "cancel", one[:10], two, "--reason", "wrong host").out
    assert one in said and two in said
    assert plane.call("GET", f"/executions/{one}")["error_message"] == "Cancelled by user: wrong host"
    assert "already" in kubiya("runs", "cancel", played(plane), code=64).err
    third = plane.execute()
    kubiya("runs", "cancel", third, "nothing-like-it", code=64)
    assert plane.call("GET", f"/executions/{third}")["status"] == "pending", "all are looked up first"


def test_a_retry_is_a_new_run_with_a_link(plane: Api, kubiya: Commands) -> None:
    execution = played(plane, prompt="Once more")
    said = kubiya("runs", "retry", execution[:10])
    made = plane.call("GET", f"/executions/{said.out.strip()}")
    assert made["prompt"] == "Once more" and made["execution_metadata"]["retry_of"] == execution
    assert said.err.strip() == f"http://kubiya/#/executions/{made['id']}"
    assert "retry of" in kubiya("runs", "show", made["id"]).out


def test_a_transcript_is_markdown_or_json(plane: Api, kubiya: Commands, tmp_path: Path) -> None:
    execution = played(plane)
    text = kubiya("runs", "export", execution[:10]).out
    assert text.startswith("# ops\n\n- execution: ") and "## Ada" in text
    assert "### Approval of shell: approved by Bo" in text and "### Tool shell: success" in text
    assert "````\n```/dev/sda1 91%```\n````" in text, "what a tool says cannot end its block"
    assert text.count("It is **full**.") == 1
    file = tmp_path / "run.json"
    assert "5 steps" in kubiya("runs", "export", execution, str(file)).err
    assert json.loads(file.read_text())["execution"]["id"] == execution
    assert "cannot be written" in kubiya("runs", "export", execution, str(tmp_path / "no" / "x"), code=64).err
    (sent,) = json.loads(kubiya("runs", "export", execution, "--as-trace").out)["resourceSpans"][0]["scopeSpans"]
    assert any(span["name"].startswith("invoke_agent ") for span in sent["spans"])
    assert "--as-trace writes OTLP JSON" in kubiya("runs", "export", execution, "--as-trace", "--as-test", code=64).err


def test_a_fence_is_longer_than_any_inside() -> None:
    assert fenced("a", "") == "```\na\n```"
    assert fenced("`````", "").startswith("``````\n")


def test_steps_of_members_and_of_calls_that_never_began() -> None:
    member = {"source": "team_member", "member_name": "scribe"}
    events = [
        {
            "event_type": "tool_completed",
            "timestamp": "t",
            "data": {"tool_execution_id": "d", "tool_name": "rm", "outcome": "denied"},
        },
        {
            "event_type": "member_tool_started",
            "timestamp": "t",
            "data": {**member, "tool_execution_id": "m", "tool_name": "ls"},
        },
        {"event_type": "notice", "timestamp": "t", "data": {"message": "asked again"}},
    ]
    denied, members, notice = steps_of(events)
    assert (denied.name, denied.outcome, denied.seconds) == ("rm", "denied", None)
    assert (members.member, members.outcome, members.seconds) == ("scribe", "", None)
    assert notice.output == "asked again"
