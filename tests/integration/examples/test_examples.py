"""Each file in examples/ is applied by the command, and its agent runs with the scripted model.

Its commands are tried in the run, so that what a system prompt proposes is what the allow-list takes. A program that
this host lacks, or a cluster that is not there, makes its call fail; the call must not be denied, and the confinement
must refuse it nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.demo_scripts import script, shell
from tests.support.stack import BIN, ROOT, Stack

FILES: Final = sorted((ROOT / "examples").glob("*.yaml"))
DENIED: Final = ("denied", "expired")
VARIABLES: Final = {"postgresql-health": {"PGHOST": "127.0.0.1"}}  # what a file asks for in its comment
# For each file: commands that run at once, and one that a person is asked about; empty where there is none.
TRIED: Final[dict[str, tuple[list[str], str]]] = {
    "backup-check": (["find /var/backups -newermt yesterday", "date", "tar -tf /nothing.tar | head -n 5"], ""),
    "certificate-expiry": (["openssl x509 -noout -enddate -subject -in /etc/ssl/none.pem", "date"], ""),
    "disk-full": (["df -h", "du -sh /etc | sort -h"], ""),
    "failed-units": (
        ["systemctl list-units --failed --no-pager", "journalctl -u cron -n 50 --no-pager"],
        "systemctl restart cron",
    ),
    "host-inventory": (["ssh nowhere.invalid uname -r", "ssh nowhere.invalid df -h /"], ""),
    "incident-summary": ([], ""),
    "log-triage": (["ls /var/log", "grep -c error /etc/hostname", "head -n 5 /etc/hostname | sort | uniq -c"], ""),
    "package-updates": (["apt list --upgradable", "uname -r"], ""),
    "pod-crash-loop": (["kubectl get pods -A", "kubectl logs web-1 --previous --tail 100"], "kubectl delete pod web-1"),
    "postgresql-health": (
        ["psql -c 'select count(*) from pg_stat_activity'"],
        "psql -c 'delete from users'",
    ),
    "shared-model": ([], ""),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.worker(LITELLM_DEFAULT_MODEL="demo")
        yield running


def applied(stack: Stack, file: Path) -> str:
    """Apply a file by the command, and return what it prints."""
    environ = {**os.environ, "CONTROL_PLANE_URL": stack.url, "KUBIYA_API_KEY": stack.key}
    command = [str(BIN / "kubiya"), "apply", "-f", str(file)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def outcomes(stack: Stack, execution: str) -> list[tuple[str, str]]:
    """Return the outcome of each tool call, with what its error says."""
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Done."), row
    done = [event["data"] for event in stack.events(execution) if event["event"] == "tool_completed"]
    assert not [each for each in done if "refused by the confinement" in str(each.get("tool_output"))], done
    return [(str(each["outcome"]), str(each.get("tool_error") or "")) for each in done]


def test_every_file_is_tried() -> None:
    assert {file.stem for file in FILES} == set(TRIED)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_applied_and_runs(stack: Stack, file: Path) -> None:
    documents = [each for each in yaml.safe_load_all(file.read_text()) if each]
    told = applied(stack, file)
    assert all(f"{each['kind'].lower()}/{each['name']}  created" in told for each in documents)
    assert "created" not in applied(stack, file)
    agents = [each["name"] for each in documents if each["kind"] == "Agent"]
    free, asks = TRIED[file.stem]
    prompt = script(*([shell(*free)] if free else []), {"text": "Done."})
    # A stored model is at a provider; the script is played by the demo model in its place.
    model = {"model_id": "demo"} if any(each["kind"] == "Model" for each in documents) else {}
    for agent in agents:
        environment = {"env_vars": VARIABLES.get(file.stem, {})}
        found = outcomes(stack, stack.execute(prompt, agent=agent, execution_environment=environment, **model))
        assert len(found) == len(free)
        assert not [each for each in found if each[0] in DENIED or "not allowed" in each[1]], found
    if asks:
        execution = stack.execute(script(shell(asks), {"text": "Done."}), agent=agents[0])
        approval = stack.first(execution, "approval_requested")
        stack.call("POST", f"/approvals/{approval['approval_id']}/reject", {"reason": "only a test"})
        assert [each[0] for each in outcomes(stack, execution)] == ["denied"]


def test_the_inventory_is_written_without_a_question_and_another_file_with_one(stack: Stack) -> None:
    applied(stack, ROOT / "examples" / "host-inventory.yaml")
    write: dict[str, Any] = {"name": "save_file", "arguments": {"path": "inventory.md", "content": "web-1"}}
    execution = stack.execute(script({"tools": [write]}, {"text": "Done."}), agent="host-inventory")
    assert [each[0] for each in outcomes(stack, execution)] == ["success"]
    other = {**write, "arguments": {"path": "other.md", "content": "x"}}
    execution = stack.execute(script({"tools": [other]}, {"text": "Done."}), agent="host-inventory")
    approval = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{approval['approval_id']}/reject", {"reason": "only a test"})
    assert [each[0] for each in outcomes(stack, execution)] == ["denied"]


def test_the_alert_of_the_example_fills_the_prompt(stack: Stack) -> None:
    applied(stack, ROOT / "examples" / "incident-summary.yaml")
    alert = {"labels": {"alertname": "DiskFull"}, "annotations": {"summary": "97 %"}, "startsAt": "2026-11-28T12:00Z"}
    started = stack.call("POST", "/jobs/summary of an alert/trigger", {"parameters": alert})
    prompt = stack.execution(started["execution_id"])["prompt"]
    assert "The alert DiskFull fired at 2026-11-28T12:00Z. Its text: 97 %" in prompt
    stack.call("POST", f"/executions/{started['execution_id']}/cancel", {})
