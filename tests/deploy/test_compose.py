"""The Compose files: what they call is there, Compose itself takes them, and the full stack runs and does work.

PostgreSQL's and Temporal's own images cannot be had without a public registry: the stack runs with Debian's PostgreSQL
and Temporal's dev server under their names (compose_local.yaml); everything else is as the file has it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from kubiya_worker.cli.worker_start import start
from kubiya_worker.server.command_line import parse
from kubiya_worker.settings.table import OPTIONS
from tests.deploy import engine
from tests.support.stack import ROOT, free_port, wait_until

FOLDER = ROOT / "deploy" / "compose"
FULL, WORKER = FOLDER / "full.yaml", FOLDER / "worker.yaml"
LOCAL = Path(__file__).parent / "compose_local.yaml"
IMAGE = "kubiya-worker:full-test"
VARIABLES = {name for option in OPTIONS for name in option.env} | {f"{o.env[0]}_FILE" for o in OPTIONS if o.secret}


def _services(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["services"]
    return found


def test_what_the_full_stack_calls_is_there() -> None:
    services = _services(FULL)
    assert parse(services["control-plane"]["command"][2:]).seed
    command = [word.replace("${QUEUE_ID:-default}", "default") for word in services["worker"]["command"]]
    assert start.make_context("start", command[2:]).params["queue_id"] == "default"
    for name in ("control-plane", "worker"):
        assert services[name]["environment"].keys() <= VARIABLES
    assert services["worker"]["deploy"]["replicas"] == 2
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)
    keys = [name for s in services.values() for name in s.get("environment", {}) if name == "KUBIYA_API_KEY"]
    assert keys == [], "the key is on a volume"


def _compose(*arguments: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": engine.PATH, "HOME": os.environ.get("HOME", "/"), **env}
    argv = [str(engine.compose()), *arguments]
    return subprocess.run(
        argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout, errors="replace", check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("path", "needed"), [(FULL, ["POSTGRES_PASSWORD"]), (WORKER, ["KUBIYA_API_KEY"])], ids=["full", "worker"]
)
def test_compose_takes_the_file_and_says_what_it_needs(path: Path, needed: list[str]) -> None:
    engine.compose()  # fetched
    run = _compose("-f", str(path), "config", "--quiet", timeout=60, **dict.fromkeys(needed, "x"))
    assert (run.returncode, run.stderr) == (0, "")
    for name in needed:
        others = {n: "x" for n in needed if n != name}
        run = _compose("-f", str(path), "config", "--quiet", timeout=60, **others)
        assert run.returncode != 0 and f"set {name}" in run.stderr


class Up:
    """The stack as it runs: Compose, the engine and the control plane's API."""

    def __init__(self, address: str, config: Path) -> None:
        self.address, self.port = address, free_port()
        self._env = {
            "DOCKER_HOST": address,
            "DOCKER_CONFIG": str(config),
            "POSTGRES_PASSWORD": "of-the-test",
            "KUBIYA_IMAGE": IMAGE,
            "CONTROL_PLANE_PORT": str(self.port),
        }
        self.key = ""

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        run = _compose("-f", str(FULL), "-f", str(LOCAL), *arguments, timeout=300, **self._env)
        assert not check or run.returncode == 0, (arguments, run.stdout[-3000:], run.stderr[-3000:])
        return run

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"http://127.0.0.1:{self.port}/api/v1{path}"
        answer = requests.request(method, url, json=body, headers=headers, timeout=30)
        assert answer.status_code < 400, (path, answer.status_code, answer.text)
        return answer.json()

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).stdout.split()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    engine.compose()
    with engine.engine() as address:
        engine.build(address, "kubiya-test-full", IMAGE, ["postgresql"], "[server]")
        stack = Up(address, tmp_path_factory.mktemp("config"))
        try:
            stack.compose("up", "-d", "--no-build", "--wait", "--wait-timeout", "240")
            stack.key = stack.compose("exec", "-T", "control-plane", "cat", "/app/keys/key").stdout.strip()
            yield stack
        except BaseException:
            print(stack.compose("ps", "-a", check=False).stdout, stack.compose("logs", check=False).stdout[-8000:])
            raise
        finally:
            stack.compose("down", "-v", "-t", "5", check=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_full_stack_does_work_and_survives_a_killed_worker(up: Up) -> None:
    def live() -> int:
        return len(up.call("GET", "/worker-queues/default/workers"))

    wait_until(lambda: live() == 2, 120, "two workers are there")
    skills = [{"name": "sleep", "type": "sleep"}]
    agent = up.call("POST", "/agents", {"name": "composed", "model_id": "demo", "skills": skills})["id"]
    sleep = {"name": "sleep", "arguments": {"seconds": 4}}
    script = "demo:script " + json.dumps([{"tools": [sleep]}, {"text": "done"}])

    def execute() -> str:
        body = {"prompt": script, "worker_queue_id": "default"}
        return str(up.call("POST", f"/agents/{agent}/execute", body)["execution_id"])

    def status(execution: str) -> str:
        return str(up.call("GET", f"/executions/{execution}")["status"])

    def done(execution: str) -> bool:
        return status(execution) in ("completed", "waiting_for_input")

    def sleeps(execution: str) -> bool:
        events = up.call("GET", f"/executions/{execution}/events")
        return any(event["event_type"] == "tool_started" for event in events)

    first = [execute() for _ in range(4)]
    wait_until(lambda: all(map(sleeps, first)), 60, "a tool of each runs")
    killed = up.containers("worker")[0]
    engine.docker(up.address, "kill", "-s", "KILL", killed)
    for each in first:
        wait_until(partial(done, each), 120, "it is done all the same")
    inspected = engine.docker(up.address, "inspect", *up.containers("worker"), *up.containers("control-plane")).stdout
    assert up.key.startswith("kby_") and up.key not in inspected

    # What the control plane and Temporal know outlives their containers' end.
    up.compose("restart", "-t", "10", "control-plane")
    wait_until(lambda: _answers(up), 60, "the control plane answers again")
    assert status(first[0]) in ("completed", "waiting_for_input")

    workers = up.containers("worker")
    up.compose("stop", "-t", "45", "worker")
    codes = json.loads(engine.docker(up.address, "inspect", *workers).stdout)
    alive = [one for one in codes if one["Id"] != killed]
    assert [one["State"]["ExitCode"] for one in alive] == [0] * len(alive), "they drained"


def _answers(up: Up) -> bool:
    try:
        up.call("GET", "/worker-queues/default/workers")
    except requests.RequestException:
        return False
    return True
