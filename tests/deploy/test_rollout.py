"""Rolling upgrades of both charts, by processes in place of pods: what a rollout does is done to what runs there."""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.deploy import kubernetes_rules as rules
from tests.deploy.charts import BASE, CONTROL_PLANE, POSTGRESQL, WORKER, objects, rendered
from tests.support import postgres
from tests.support.balancer import Balancer
from tests.support.pods import Pod
from tests.support.stack import Process, Stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def template(values: dict[str, Any], chart: Path) -> dict[str, Any]:
    (workload,) = rules.of_kinds(objects(rendered(values, chart)), *rules.SERVING)
    return rules.template_of(workload)


class PodStack(Stack):
    """A stack whose control plane is the chart's pods on PostgreSQL, behind a load balancer."""

    def __init__(self, folder: Path, server: postgres.PostgresServer) -> None:
        super().__init__(folder)
        self.pods: list[Pod] = []
        self.balancer: Balancer | None = None
        self.key = f"kby_{secrets.token_urlsafe(32)}"
        (folder / "key").write_text(self.key)
        self._secrets = {
            "control-plane-keys": {"api-key": self.key, "secrets-key": base64.b64encode(os.urandom(32)).decode()},
            "control-plane-database": {"url": server.fresh().url},
        }

    def start_pod(self) -> Pod:
        values = {**POSTGRESQL, "seed": True, "temporal": {"address": self.temporal_address}}
        name = f"control-plane-{len(self.processes)}"
        pod = Pod(name, template(values, CONTROL_PLANE), self.folder, self._secrets)
        self.processes.append(pod.process)
        pod.become_ready()
        return pod

    def start_server(self) -> Process:
        self.pods = [self.start_pod(), self.start_pod()]
        self.balancer = Balancer(self.port, [])
        self.balancer.aim([pod.port for pod in self.pods])
        self.server = self.pods[0].process
        return self.server

    def roll(self) -> None:
        """Replace each pod: a new one that is ready, then the end of an old one, of which the balancer hears late."""
        assert self.balancer is not None
        for old in list(self.pods):
            self.pods.append(self.start_pod())
            self.balancer.aim([pod.port for pod in self.pods])
            self.pods.remove(old)
            hears = threading.Timer(2, self.balancer.aim, [[pod.port for pod in self.pods]])
            hears.start()
            took = old.stop()
            hears.join()
            assert took < old.grace, took


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[PodStack]:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with postgres.postgres_server() as server, PodStack(tmp_path, server) as running:
        yield running
        assert running.balancer is not None
        running.balancer.close()


def test_no_request_fails_while_the_control_planes_pods_are_replaced(stack: PodStack) -> None:
    stack.worker()
    agent = stack.agent("rolled", skills=[{"name": "sleep", "type": "sleep"}])
    steps = [{"tools": [{"name": "sleep", "arguments": {"seconds": 2}}]} for _ in range(8)]
    execution = stack.execute(f"demo:script {json.dumps([*steps, {'text': 'done'}])}", agent=agent)
    failed: list[str] = []
    asked, over = 0, threading.Event()

    def ask() -> None:
        nonlocal asked
        while not over.is_set():
            asked += 1
            try:
                answer = requests.get(f"{stack.url}/api/v1/agents", headers=dict(stack.http.headers), timeout=30)
                failed.extend([] if answer.status_code == 200 else [f"{answer.status_code} {answer.text[:100]}"])
            except requests.RequestException as error:
                failed.append(repr(error))
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        stack.roll()
    finally:
        over.set()
        asking.join()
    assert failed == [] and asked > 20, asked
    done = stack.wait(execution, timeout=300)
    assert done["status"] in ("completed", "waiting_for_input"), done
    events: list[dict[str, Any]] = stack.call("GET", f"/executions/{execution}/events?limit=1000")
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert sum(event["event_type"] == "tool_completed" for event in events) == len(steps)
    assert all(pod.passes("livenessProbe") for pod in stack.pods)


def test_a_workers_pod_finishes_its_step_and_the_next_pod_goes_on(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        values = {**BASE, "queueId": "default", "controlPlaneUrl": stack.url, "temporalTls": False}
        keys = {"kubiya-secrets": {"api-key": stack.key}}

        def started(name: str) -> Pod:
            own = {"KUBIYA_ALIVE_FILE": str(tmp_path / name / "tmp" / "worker-alive")}
            own["KUBIYA_READY_FILE"] = str(tmp_path / name / "tmp" / "worker-ready")
            pod = Pod(name, template(values, WORKER), tmp_path, keys, **own, KUBIYA_METRICS_PORT="0")
            stack.processes.append(pod.process)
            pod.become_ready()
            return pod

        first = started("first")
        agent = stack.agent("rolled", skills=[{"name": "sleep", "type": "sleep"}])
        steps = [{"tools": [{"name": "sleep", "arguments": {"seconds": 6}}]} for _ in range(2)]
        execution = stack.execute(f"demo:script {json.dumps([*steps, {'text': 'done'}])}", agent=agent)
        stack.first(execution, "tool_started")
        second = started("second")  # maxSurge: 1
        ended: list[float] = []
        stopping = threading.Thread(target=lambda: ended.append(first.stop()))
        stopping.start()
        wait_until(lambda: not first.passes("readinessProbe"), 30, "it is no longer ready")
        stopping.join()
        assert ended and ended[0] < first.grace
        done = stack.wait(execution, timeout=120)
        assert done["status"] in ("completed", "waiting_for_input"), done
        kinds = [event["event"] for event in stack.events(execution)]
        assert kinds.count("tool_started") == kinds.count("tool_completed") == len(steps), "no step was run again"
        assert second.passes("livenessProbe")
        second.stop()
