"""`kubiya exec team` and the sample team, as programs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.dev import Dev


def test_the_sample_team_triages_an_incident_and_stops_once_for_a_person(dev: Dev, tmp_path: Path) -> None:
    (tmp_path / "error.log").write_text("ERROR no space left on device\n" * 5)
    agent = dev.call("GET", "/agents/logs")
    (skill,) = agent["skills"]
    skill["configuration"]["read_paths"].append(str(tmp_path))
    dev.call("PATCH", f"/agents/{agent['id']}", {"skills": [skill]})
    prompt = f"The application under {tmp_path} is down. Find out why."
    done = dev.kubiya("exec", "team", "triage", prompt, "--approve", "-o", "json", "-v")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert f"logs: 5 lines in {tmp_path} speak of errors" in result["answer"]
    assert "The report is saved as incident-report.md" in result["answer"]
    assert result["model_label"] == "demo model, not an LLM"
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    asked = [x["metadata"] for x in lines if x.get("progress", {}).get("stage") == "approval_requested"]
    assert [a["member_path"] for a in asked] == [["triage", "writer"]]
    who = {x["metadata"]["member_name"] for x in lines if "member_name" in x.get("metadata", {})}
    assert who == {"logs", "host", "writer"}


def test_a_team_that_is_not_there_is_told_with_those_that_are(dev: Dev) -> None:
    done = dev.kubiya("exec", "team", "nobody", "hello")
    assert (done.returncode, "There is no team 'nobody'. There are: triage" in done.stderr) == (64, True), done.stderr


def test_an_agent_that_asks_others_shows_who_does_what(dev: Dev) -> None:
    terms = {"allowed_agents": ["ops"]}
    skill = {"name": "others", "type": "agent_communication", "configuration": terms}
    dev.call("POST", "/agents", {"name": "asking", "model_id": "demo", "skills": [skill]})
    task = "demo:script " + json.dumps(
        [{"tools": [{"name": "shell", "arguments": {"command": "ls /"}}]}, {"text": "I"}]
    )
    tools = [{"name": "execute_agent", "arguments": {"agent": "ops", "task": task}}]
    prompt = "demo:script " + json.dumps([{"tools": tools}, {"text": "It is done."}])
    done = dev.kubiya("exec", "agent", "asking", prompt, "--approve")
    assert (done.returncode, done.stdout.strip()) == (0, "It is done."), done.stderr
    assert "▸ ops  demo:script" in done.stderr and "ops │ ▸ shell  ls /" in done.stderr
