"""`kubiya init`, apply, diff, get, export, delete, history and rollback, as a person types them."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from kubiya_worker.server.edges.manifests import KINDS
from tests.support.control_plane import ControlPlane
from tests.support.stack import BIN

Kubiya = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kubiya(plane: ControlPlane, tmp_path: Path) -> Kubiya:
    """Run a command in a folder of its own; return its exit code and what it prints to stdout and stderr."""
    environ = {**os.environ, "CONTROL_PLANE_URL": plane.url, "KUBIYA_API_KEY": plane.key, "HOME": str(tmp_path)}

    def run(*argv: str, text: str = "") -> tuple[int, str, str]:
        command = [str(BIN / "kubiya"), *argv]
        options = {"input": text, "capture_output": True, "text": True, "timeout": 60, "cwd": tmp_path}
        done = subprocess.run(command, env=environ, **options)  # type: ignore[call-overload]
        return done.returncode, done.stdout, done.stderr

    return run


def test_from_nothing_to_an_own_agent_rule_and_job_in_two_commands(kubiya: Kubiya, tmp_path: Path) -> None:
    code, _, told = kubiya("init", "ops.yaml")
    assert code == 0 and "kubiya apply -f ops.yaml" in told
    assert kubiya("init", "ops.yaml")[0] == 64
    code, out, told = kubiya("apply", "-f", "ops.yaml", "--dry-run")
    assert code == 0 and "3 created; dry run" in told
    assert kubiya("diff", "-f", "ops.yaml")[0] == 1
    code, out, told = kubiya("apply", "-f", "ops.yaml")
    assert (code, told) == (0, "3 created\n")
    assert out.splitlines() == [
        *("agent/disk-watcher  created", "rule/ask before files change  created", "job/disks every morning  created"),
    ]
    assert kubiya("apply", "-f", "ops.yaml")[2] == "3 unchanged\n"
    assert kubiya("diff", "-f", "ops.yaml") == (0, "", "Nothing would change.\n")
    file = tmp_path / "ops.yaml"
    file.write_text(file.read_text().replace("80 %", "90 %"))
    code, out, _ = kubiya("diff", "-f", "ops.yaml")
    assert code == 1 and "job/disks every morning  changed" in out and '-> "Which disks are more than 90 %' in out
    assert json.loads(kubiya("diff", "-f", "ops.yaml", "-o", "json")[1])["changes"][0]["action"] == "changed"


def test_a_fault_is_told_with_its_file_line_and_the_nearest_name(kubiya: Kubiya, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: Agent\nname: x\nspec:\n  system_promt: hi\n---\nkind: Agnt\nname: y\n")
    code, out, told = kubiya("apply", "-f", "a.yaml", "-o", "json")
    error = json.loads(told)["error"]
    assert (code, out, error["exit_code"]) == (78, "", 78) and error["problems"][0].startswith("a.yaml:6: kind: ")
    code, out, told = kubiya("apply", "-f", "a.yaml")
    assert (code, out) == (78, "")
    assert told.splitlines() == [
        "kubiya: Nothing was changed, because of 1 fault:",
        f"  a.yaml:6: kind: kind is one of {', '.join(KINDS)}",
    ]
    (tmp_path / "a.yaml").write_text("kind: Agent\nname: x\nspec:\n  system_promt: hi\n  status: idle\n")
    assert kubiya("apply", "-f", "a.yaml")[2].splitlines()[1:] == [
        "  a.yaml:5: spec.status: not supported yet: status. It is state, and no part of a definition",
        "  a.yaml:4: spec.system_promt: Unknown field 'system_promt'. Did you mean system_prompt?",
    ]


def test_what_is_exported_is_applied_again_and_changes_nothing(kubiya: Kubiya, tmp_path: Path) -> None:
    everything = kubiya("export")[1]
    assert "kind: Agent\nname: ops\n" in everything and "kind: Team\nname: triage\n" in everything
    code, out, told = kubiya("apply", "-f", "-", text=everything)
    assert code == 0 and "changed" not in out.replace("unchanged", "") and "created" not in told
    assert json.loads(kubiya("export", "teams", "-o", "json")[1].splitlines()[0])["kind"] == "Team"


def test_versions_go_back_and_what_was_deleted_comes_back(kubiya: Kubiya) -> None:
    name = f"watcher-{uuid.uuid4().hex[:6]}"
    for prompt in ("One.", "Two."):
        body = f"kind: Agent\nname: {name}\nspec: {{system_prompt: {prompt}}}\n"
        assert kubiya("apply", "-f", "-", text=body)[0] == 0
    assert "system_prompt: Two." in kubiya("get", "agent", name[:-2], "-o", "yaml")[1]
    assert name in kubiya("get", "agents")[1]
    code, out, _ = kubiya("history", "agent", name)
    assert code == 0 and out.startswith("2  changed  local user") and 'spec.system_prompt: "One." -> "Two."' in out
    assert kubiya("rollback", "agent", name, "1")[0] == 0
    assert json.loads(kubiya("get", "agent", name, "-o", "json")[1])["spec"]["system_prompt"] == "One."
    assert kubiya("delete", "agent", name) == (0, f"agent/{name}  deleted\n", "")
    code, _, told = kubiya("get", "agent", name)
    assert code == 64 and told.startswith(f"kubiya: There is no agent '{name}'. There are: ")
    assert kubiya("rollback", "agent", name, "1")[1] == f"agent/{name}  created\n"
    assert kubiya("get", "pods")[0] == 78


def test_the_schema_is_one_for_editors(kubiya: Kubiya) -> None:
    schema = json.loads(kubiya("init", "--schema")[1])
    assert [each["properties"]["kind"]["const"] for each in schema["oneOf"]] == list(KINDS)
    agent = next(each for each in schema["oneOf"] if each["title"] == "Agent")
    assert "system_prompt" in agent["properties"]["spec"]["properties"]
    assert "status" not in agent["properties"]["spec"]["properties"]
