"""`kubiya jobs` as a person types it."""

from __future__ import annotations

import hashlib
import hmac
import json
import re

import pytest
import requests

from tests.e2e.test_exec import ID, status_of
from tests.support.demo_scripts import script
from tests.support.dev import Dev
from tests.support.stack import wait_until


def test_a_job_is_made_shown_triggered_and_removed(dev: Dev) -> None:
    made = dev.kubiya("jobs", "create", "greet", script({"text": "Hello {{who}}."}), "--agent", "ops")
    assert made.returncode == 0, made.stderr
    assert re.fullmatch(rf"created: greet, job {ID.pattern}\n", made.stdout)
    started = dev.kubiya("jobs", "trigger", "greet", "-p", "who=Ada")
    assert started.returncode == 0, started.stderr
    execution = started.stdout.strip()
    assert ID.fullmatch(execution) and started.stderr.strip().endswith(f"/#/executions/{execution}")
    answer = dev.kubiya("exec", "attach", execution, "--timeout", "60s")
    assert answer.stdout == "Hello Ada.\n"
    assert status_of(dev, execution) == "completed"
    listed = dev.kubiya("jobs", "ls")
    assert re.search(r"^greet +enabled +1 +.+ ago\n    manual  agent ops$", listed.stdout, re.MULTILINE), listed.stdout
    identifier = json.loads(dev.kubiya("jobs", "ls", "--json").stdout)["id"]
    shown = dev.kubiya("jobs", "show", identifier[:8])
    assert "prompt_template: demo:script" in shown.stdout and f"{execution}  completed  manual" in shown.stdout
    assert dev.kubiya("jobs", "disable", "greet").stdout == "disabled: greet\n"
    refused = dev.kubiya("jobs", "trigger", "greet")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (78, 1)
    assert "disabled; enable it first" in refused.stderr
    assert re.search(r"^greet +disabled ", dev.kubiya("jobs", "ls").stdout, re.MULTILINE)
    assert dev.kubiya("jobs", "enable", "greet").stdout == "enabled: greet\n"
    lacking = dev.kubiya("jobs", "trigger", "greet", "-p", "whom=Ada")
    assert lacking.returncode == 78 and "needs who" in lacking.stderr
    assert dev.kubiya("jobs", "rm", "greet").stdout == "removed: greet\n"
    assert dev.kubiya("jobs", "ls").stderr == "There are no jobs.\n"


@pytest.mark.slow
def test_a_schedule_says_when_it_is_due(dev: Dev) -> None:
    options = ("--cron", "0 2 * * mon-fri", "--timezone", "Europe/Berlin", "--team", "triage", "--queue", "default")
    policy = ("--overlap", "buffer_one", "--catch-up", "6h")
    made = dev.kubiya("jobs", "create", "nightly", "hello", *options, *policy)
    assert made.returncode == 0, made.stderr
    assert "0 2 * * mon-fri Europe/Berlin  team triage" in dev.kubiya("jobs", "ls").stdout
    due = r"next_execution_at: \d{4}-\d\d-\d\dT0[01]:00:00\+00:00"
    # Temporal is told after the answer.
    wait_until(lambda: re.search(due, dev.kubiya("jobs", "show", "nightly").stdout), 30, "it is due")
    shown = dev.kubiya("jobs", "show", "nightly").stdout
    assert "overlap_policy: buffer_one\ncatch_up_seconds: 21600\n" in shown
    assert len(re.findall(r"^next: \w{3} \d{4}-\d\d-\d\d 02:00 CES?T$", shown, re.MULTILINE)) == 5, shown
    assert dev.kubiya("jobs", "rm", "nightly").returncode == 0
    refused = dev.kubiya("jobs", "create", "nightly", "hello", *options[2:])
    assert "--timezone goes with --cron" in refused.stderr
    refused = dev.kubiya("jobs", "create", "nightly", "hello", "--agent", "ops", "--overlap", "skip")
    assert "--overlap goes with --cron" in refused.stderr


def test_a_webhook_is_called_with_what_was_printed(dev: Dev) -> None:
    made = dev.kubiya("jobs", "create", "hook", script({"text": "Seen {{action}}."}), "--agent", "ops", "--webhook")
    assert made.returncode == 0, made.stderr
    found = re.search(r"^webhook: (\S+)\nsecret:  (\S+)  \(it is not shown again\)$", made.stdout, re.MULTILINE)
    assert found, made.stdout
    body = b'{"action": "opened"}'
    signature = "sha256=" + hmac.new(found[2].encode(), body, hashlib.sha256).hexdigest()
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(found[1], data=body, headers={"X-Hub-Signature-256": signature}, timeout=30)
    assert answer.status_code == 200, answer.text
    seen = dev.kubiya("exec", "attach", answer.json()["execution_id"], "--timeout", "60s")
    assert seen.stdout == "Seen opened.\n"
    shown = dev.kubiya("jobs", "show", "hook")
    assert found[1] in shown.stdout and found[2] not in shown.stdout
    assert dev.kubiya("jobs", "rm", "hook").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "nothing"], 64, "There is no job 'nothing'"),
        (["create", "x", "p"], 64, "for an agent or for a team"),
        (["create", "x", "p", "--agent", "ops", "--team", "triage"], 64, "for an agent or for a team"),
        (["create", "x", "p", "--agent", "nobody"], 64, "There is no agent 'nobody'"),
        (["create", "x", "p", "--agent", "ops", "--cron", "@daily", "--webhook"], 64, "contradict each other"),
        (["create", "x", "p", "--agent", "ops", "--timezone", "UTC"], 64, "goes with --cron"),
        (["create", "x", "p", "--agent", "ops", "--cron", "every day"], 78, "five fields"),
        (["create", "x", "p", "--agent", "ops", "--cron", ""], 78, "needs a cron_schedule"),
        (["create", "x", "{{a}}", "--agent", "ops", "--cron", "@daily"], 78, "A schedule brings no value for a"),
        (["create", "x", "p", "--agent", "ops", "--queue", "moon"], 64, "There is no queue 'moon'"),
        (["trigger", "x", "-p", "who"], 64, "'who' is not NAME=VALUE"),
    ],
)
def test_what_is_wrong_is_one_line(dev: Dev, arguments: list[str], code: int, says: str) -> None:
    run = dev.kubiya("jobs", *arguments)
    assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (code, "", 1), run.stderr
    assert says in run.stderr
