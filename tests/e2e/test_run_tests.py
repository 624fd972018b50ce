"""A run becomes a test: `kubiya runs export --as-test` writes it, `kubiya test` plays it with the true engine."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from tests.support.demo_scripts import script
from tests.support.dev import Dev
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import wait_until

TOKEN = "ghp_0123456789abcdefghij0123456789"  # of a shape that is taken out
DEFINITIONS = """
kind: Environment
name: lab
spec: {execution_environment: {env_vars: {SITE: north}}}
---
kind: Agent
name: keeper
spec:
  system_prompt: You look after files.
  environment_ids: [lab]
  execution_environment: {env_vars: {API_TOKEN: "{{.secret.LAB_TOKEN}}"}}
  skills:
    - type: shell
      configuration: {allowed_commands: [cat, date, echo, rm, sh]}
    - type: ask_person
---
kind: Rule
name: ask before removal
spec:
  scope_type: tool
  scope_value: shell
  argument_pattern: rm -f
  approver_type: role
  approver_value: [admin]
---
kind: Team
name: pair
spec: {configuration: {member_ids: [keeper], mode: coordinate}}
"""
SHELL = {"name": "shell"}


def call(command: str) -> dict[str, Any]:
    return {**SHELL, "arguments": {"command": command}}


@pytest.fixture(scope="module")
def recorded(dev: Dev, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the file of a run with results, a secret in a prompt, a grant, a refusal, an edit and a question."""
    folder = tmp_path_factory.mktemp("tests")
    (folder / "all.yaml").write_text(DEFINITIONS)
    dev.call("PUT", "/secrets/LAB_TOKEN", {"value": "s3cret-of-the-lab"})
    applied = dev.kubiya("apply", "-f", str(folder / "all.yaml"))
    assert applied.returncode == 0, applied.stderr
    steps = script(
        {"text": "I look.", "tools": [call("echo /srv/file 42 %"), call("cat /nowhere")]},
        {"tools": [call("rm -f one")]},
        {"tools": [call("rm -f two")]},
        {"tools": [call("rm -f three")]},
        {"tools": [call("date +%s%N"), {"name": "ask_person", "arguments": {"question": "Which colour?"}}]},
        {"text": "Done at /srv/file, 42 %."},
    )
    prompt = f"{steps} (the token is {TOKEN})"
    execution = dev.call("POST", "/agents/keeper/execute", {"prompt": prompt, "worker_queue_id": "default"})[
        "execution_id"
    ]
    answers: list[tuple[str, dict[str, Any]]] = [
        ("approve", {"comment": "go on"}),
        ("reject", {"reason": "not this one"}),
        ("approve", {"arguments": {"command": "echo instead"}}),
        ("approve", {"answer": "blue"}),
    ]
    for request in requests_of(dev, execution, len(answers)):
        word, body = answers.pop(0)
        dev.call("POST", f"/approvals/{request}/{word}", body)
    attached = dev.kubiya("exec", "attach", execution, "--timeout", "60s")
    assert attached.returncode == 0, attached.stderr
    file = folder / "keeper.yaml"
    exported = dev.kubiya("runs", "export", execution, str(file), "--as-test")
    assert exported.returncode == 0, exported.stderr
    yield file


def requests_of(dev: Dev, execution: str, count: int) -> Iterator[str]:
    """Yield the requests of an execution as they come."""
    from kubiya_worker.cli.api.executions import ExecutionsApi
    from kubiya_worker.cli.connection import Api
    from kubiya_worker.cli.stream import frames, lines_of

    key = dev.environment()["KUBIYA_API_KEY"]
    api = Api(dev.facts["control_plane_url"], key, {})
    with ExecutionsApi(api).open_stream(execution, f"{execution}_0_0") as reply:
        for frame in frames(lines_of(reply.stream(1))):
            if frame.event_type == "approval_requested":
                yield str(frame.data["approval_id"])
                count -= 1
                if not count:
                    return


def played(dev: Dev, *arguments: str, code: int, **env: str) -> dict[str, Any]:
    done = dev.kubiya("test", "-o", "json", *arguments, **env)
    assert done.returncode == code, (done.stdout, done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def differing(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    lines = [line for each in told["tests"] for line in each["lines"] if not line["holds"]]
    return [(line["expectation"], line["recorded"], line["now"]) for line in lines]


def spec_of(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())["spec"]
    return found


def test_a_recorded_run_holds_and_has_no_secret(dev: Dev, recorded: Path) -> None:
    text = recorded.read_text()
    assert TOKEN not in text and "s3cret-of-the-lab" not in text and dev.environment()["KUBIYA_API_KEY"] not in text
    spec = spec_of(recorded)
    assert [each["kind"] for each in spec["definitions"]] == ["Environment", "Agent", "Rule", "Rule"]
    assert [each["outcome"] for each in spec["expect"]["calls"]] == [
        *("success", "failed", "success", "denied", "success", "success", "success")
    ]
    assert spec["expect"]["answer_contains"] == ["/srv/file", "42 %"]
    assert "ask_person" not in [each["tool"] for each in spec["tools"]]
    assert [each.get("decision") for each in spec["answers"]] == ["approved", "rejected", "approved", "approved"]
    assert spec["answers"][2]["edited"] == {"command": "echo instead"} and spec["answers"][3]["answer"] == "blue"
    with tempfile.TemporaryDirectory() as folder:
        told = played(dev, str(recorded), code=0, TMPDIR=folder)
        assert not list(Path(folder).iterdir()), "nothing is left of the stack"
    assert told["failed"] == 0 and len(told["tests"][0]["lines"]) >= 12


@pytest.mark.slow  # it starts a stack for each play
def test_another_rule_and_another_skill_are_seen(dev: Dev, recorded: Path, tmp_path: Path) -> None:
    spec = spec_of(recorded)
    spec["definitions"] = [each for each in spec["definitions"] if each["name"] != "ask before removal"]
    (tmp_path / "b.yml").write_text(yaml.safe_dump({"kind": "Test", "name": "no rule", "spec": spec}))
    (tmp_path / "a.yaml").write_text(recorded.read_text())
    told = played(dev, str(tmp_path), code=1)
    assert [(each["name"], each["holds"]) for each in told["tests"]] == [("keeper", True), ("no rule", False)]
    assert ("asked about shell", "approved: shell rm -f one", "not asked") in differing(told)
    assert ("call 4", "shell rm -f two → denied") in [line[:2] for line in differing(told)]
    agent = next(each for each in spec["definitions"] if each["kind"] == "Agent")
    agent["spec"]["configuration"] = {"disallowed_tools": ["shell"]}
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(agent))
    done = dev.kubiya("test", str(recorded), "--agent", str(tmp_path / "agent.yaml"))
    assert done.returncode == 1 and "1 test, 1 differs: keeper" in done.stderr, done.stderr
    assert re.search(r"^keeper +call 1 +shell echo /srv/file 42 % → success +shell echo .* → ", done.stdout, re.M)
    assert "ask_person" not in done.stdout, "only what differs"


def test_another_model_reads_the_new_prompt_and_gets_the_recorded_results(
    dev: Dev, recorded: Path, tmp_path: Path
) -> None:
    spec = spec_of(recorded)
    spec["prompts"], spec["answers"] = ["Which disk?"], []
    spec["expect"] = {"status": "completed", "answer_contains": ["42 %"], "calls": [spec["expect"]["calls"][0]]}
    file, prompt = tmp_path / "disk.json", tmp_path / "prompt.txt"
    file.write_text(json.dumps({"kind": "Test", "name": "disk", "spec": spec}))
    prompt.write_text("You are terse.")
    tools = {"tools": [{"name": "shell", "arguments": {"command": "echo /srv/file 42 %"}}]}
    unknown = {"tools": [{"name": "shell", "arguments": {"command": "echo other"}}]}
    good: list[dict[str, Any]] = [tools, {"text": "/srv/file has 42 %."}]
    bad: list[dict[str, Any]] = [tools, unknown, {"text": "I do not know."}]
    for steps, code in ((good, 0), (bad, 1)):
        with ModelEndpoint(by_step=steps) as endpoint:
            env = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test"}
            skill = 'file_system={"enable_save_file": false}'
            options = ["--model", "gpt-x", "--prompt-file", str(prompt), "--skill", skill]
            told = played(dev, str(file), *options, code=code, **env)
            bodies = [each["body"] for each in endpoint.requests if "messages" in (each["body"] or {})]
        tools_seen = {each["function"]["name"] for each in bodies[-1]["tools"]}
        assert {"shell", "read_file", "ask_person"} <= tools_seen and "save_file" not in tools_seen
        last = bodies[-1]["messages"]
        assert "You are terse." in json.dumps(last) and "You look after files" not in json.dumps(last)
        assert any(each["role"] == "tool" and "/srv/file 42 %" in str(each["content"]) for each in last)
    found = differing(told)
    assert found[0] == ("answer has '42 %'", "said", "I do not know.")
    assert found[1][:2] == ("call more", "-") and "No result of this call of shell was recorded" in found[1][2]
    assert len(found) == 2


@pytest.mark.slow  # it starts a stack for each play
def test_tools_run_really_when_they_are_asked_to(dev: Dev, recorded: Path, tmp_path: Path) -> None:
    spec, mark = spec_of(recorded), tmp_path / "made by a tool"
    write = {"command": f"sh -c \"echo here > '{mark}'\""}
    spec["model"][0]["steps"][0]["tools"] = [{"name": "shell", "arguments": write}]
    spec["model"][0]["steps"] = [spec["model"][0]["steps"][0], {"text": "ok"}]
    spec["definitions"][1]["spec"]["skills"][0]["configuration"]["write_paths"] = [str(tmp_path)]
    spec["tools"] = [{"agent": "keeper", "tool": "shell", "arguments": write, "output": "here"}]
    spec |= {"answers": [], "expect": {"calls": [{"agent": "keeper", "tool": "shell", "outcome": "success"}]}}
    file = tmp_path / "real.yaml"
    file.write_text(yaml.safe_dump({"kind": "Test", "name": "real", "spec": spec}))
    assert played(dev, str(file), code=0)["failed"] == 0 and not mark.exists()
    with tempfile.TemporaryDirectory() as folder:  # of its own, as other tests use the usual one too
        lacking = dev.kubiya("test", str(file), "--real-tools", TMPDIR=folder)
        assert not list(Path(folder).iterdir())
    assert lacking.returncode == 64 and "the test needs the secret LAB_TOKEN" in lacking.stderr
    assert played(dev, str(file), "--real-tools", code=0, LAB_TOKEN="another-value")["failed"] == 0 and mark.exists()


@pytest.mark.slow  # it starts a stack for each play
def test_a_team_and_a_conversation_become_tests_too(dev: Dev, recorded: Path, tmp_path: Path) -> None:
    task = script({"tools": [call("echo by the member")]}, {"text": "Member."})
    asking = {"text": "Asking.", "tools": [{"name": "ask_keeper", "arguments": {"task": task}}]}
    step = script(asking, {"text": "All said."})
    started = dev.call("POST", "/teams/pair/execute", {"prompt": step, "worker_queue_id": "default"})
    member = dev.kubiya("exec", "attach", started["execution_id"], "--timeout", "60s")
    assert member.returncode == 0, member.stderr
    body = {"prompt": script({"text": "One."}), "execution_metadata": {"interactive": True}}
    talk = dev.call("POST", "/agents/keeper/execute", {**body, "worker_queue_id": "default"})["execution_id"]
    wait_until(lambda: dev.call("GET", f"/executions/{talk}")["status"] == "waiting_for_input", 60, "it waits")
    dev.call("POST", f"/executions/{talk}/message", {"message": script({"text": "Two."})})
    wait_until(lambda: "Two." in str(dev.call("GET", f"/executions/{talk}")["response"]), 60, "the second answer")
    wait_until(lambda: dev.call("GET", f"/executions/{talk}")["status"] == "waiting_for_input", 60, "it waits again")
    for name, execution in (("pair", started["execution_id"]), ("talk", talk)):
        done = dev.kubiya("runs", "export", execution, str(tmp_path / f"{name}.yaml"), "--as-test")
        assert done.returncode == 0, done.stderr
    team, talked = spec_of(tmp_path / "pair.yaml"), spec_of(tmp_path / "talk.yaml")
    assert {each["agent"] for each in team["model"]} == {"pair", "keeper"} and team["team"] == "pair"
    assert ("keeper", "shell") in [(each["agent"], each["tool"]) for each in team["expect"]["calls"]]
    assert len(talked["prompts"]) == 2 and talked["expect"]["status"] == "waiting_for_input"
    told = played(dev, str(tmp_path), code=0)
    assert [each["name"] for each in told["tests"]] == ["pair", "talk"]


@pytest.mark.slow
def test_what_is_no_test_is_refused_with_its_place(dev: Dev, recorded: Path, tmp_path: Path) -> None:
    schema = json.loads(dev.kubiya("test", "--schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(recorded.read_text()), schema)
    document = yaml.safe_load(recorded.read_text())
    document["spec"]["expect"]["statsu"] = "completed"
    document["spec"]["expect"]["status"] = "done"
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(document, sort_keys=False))
    line = 1 + broken.read_text().splitlines().index("    statsu: completed")
    done = dev.kubiya("test", str(broken), str(recorded))
    assert done.returncode == 78 and f"broken.yaml:{line}: spec.expect.statsu" in done.stderr
    assert "status is one of completed, failed" in done.stderr
    applied = dev.kubiya("apply", "-f", str(recorded))
    assert applied.returncode == 78 and "a test is played by kubiya test" in applied.stderr
    other = tmp_path / "agent.yaml"
    other.write_text(yaml.safe_dump(document["spec"]["definitions"][1]))
    agent = dev.kubiya("test", str(other))
    assert agent.returncode == 78 and "agent.yaml:1: a test has the kind Test, and this is a Agent" in agent.stderr
    for arguments, says in (
        ([], "No test is given"),
        ([str(recorded), "--prompt-file", str(other)], "--prompt-file needs --model"),
        ([str(recorded), "--skill", "shell={"], "the configuration is no JSON"),
        ([str(recorded), "--agent", str(recorded)], "has 0 agents, and one is needed"),
        ([str(tmp_path / "nothing.yaml")], "cannot be read"),
    ):
        refused = dev.kubiya("test", *arguments)
        assert refused.returncode == 64 and says in refused.stderr, refused.stderr
    assert played(dev, str(recorded), "--agent", str(other), code=0)["failed"] == 0


def test_a_run_that_goes_on_is_no_test_yet(dev: Dev, recorded: Path) -> None:
    prompt = script({"tools": [{"name": "ask_person", "arguments": {"question": "When?"}}]}, {"text": "ok"})
    body = {"prompt": prompt, "worker_queue_id": "default"}
    execution = dev.call("POST", "/agents/keeper/execute", body)["execution_id"]
    next(requests_of(dev, execution, 1))
    refused = dev.kubiya("runs", "export", execution, "--as-test")
    assert refused.returncode == 64 and re.search(r"The execution (is running|waits for a person)", refused.stderr)
    dev.call("POST", f"/executions/{execution}/cancel", {})
