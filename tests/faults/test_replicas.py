"""Two servers of one PostgreSQL database: one is killed, PostgreSQL is restarted, and nothing is lost."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tests.faults.test_outage import LIMIT, Run
from tests.support import postgres
from tests.support.postgres import PostgresServer
from tests.support.replica_stack import ReplicaStack
from tests.support.stack import wait_until

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"),
]
RUNS = 6
STEPS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres.postgres_server() as made:
        yield made


@pytest.fixture
def stack(tmp_path: Path, server: PostgresServer) -> Iterator[ReplicaStack]:
    with ReplicaStack(tmp_path, server) as running:
        yield running


def followed(stack: ReplicaStack, number: int, execution: str) -> list[tuple[str, str]]:
    """Return (id, type) of each event as one server's stream tells them from the first one on."""
    url = f"http://127.0.0.1:{stack.ports[number]}/api/v1/executions/{execution}/stream"
    headers = {"Authorization": f"Bearer {stack.key}", "Last-Event-ID": "0"}
    text = requests.get(url, headers=headers, timeout=60).text
    found = []
    for frame in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in frame.splitlines() if ": " in line and not line.startswith(":"))
        if "id" in fields:
            found.append((fields["id"].split("_")[1], fields["event"]))
    return found


def answers(port: int, key: dict[str, str]) -> bool:
    return requests.get(f"http://127.0.0.1:{port}/api/v1/agents", headers=key, timeout=60).status_code == 200


def check(stack: ReplicaStack, run: Run) -> None:
    """Check that it is completed, each tool ran once, and both servers tell the same events, without gaps, once."""
    row = stack.wait(run.id, timeout=LIMIT)
    assert (row["status"], row["error_message"]) == ("completed", None)
    assert run.log.read_text().split() == [str(step) for step in range(run.steps)]
    events: list[dict[str, Any]] = stack.call("GET", f"/executions/{run.id}/events?limit=1000")
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    with psycopg.connect(stack.address.url) as database:
        query = "select event_id from events where execution_id = %s and event_id is not null"
        ids = Counter(row[0] for row in database.execute(query, (run.id,)).fetchall())
    assert max(ids.values()) == 1
    kinds = Counter(event["event_type"] for event in events)
    told = [(event["sequence"], event["event_type"], event["data"].get("tool_execution_id")) for event in events]
    assert kinds["done"] == 1 and kinds["tool_completed"] == run.steps, told
    first, second = followed(stack, 0, run.id), followed(stack, 1, run.id)
    assert first == second and [number for number, _ in first] == [str(n) for n in range(1, len(events) + 1)]


@pytest.mark.slow  # it waits for a minute of the schedule
def test_a_killed_leader_and_a_restart_of_postgresql_lose_nothing(stack: ReplicaStack, server: PostgresServer) -> None:
    queue = stack.queue("shared")
    stack.worker(queue)
    job = {
        "name": "each-minute",
        "trigger_type": "cron",
        "cron_schedule": "* * * * *",
        "planning_mode": "predefined_agent",
    }
    job |= {"entity_type": "agent", "entity_id": "ops", "prompt_template": "demo:script []"}
    made = stack.call("POST", "/jobs", {**job, "executor_type": "specific_queue", "worker_queue_name": "shared"}, 201)
    runs = [Run(stack, STEPS, queue, name=f"run{number}") for number in range(RUNS)]
    for run in runs:
        run.until(2)
    wait_until(lambda: stack.leader() >= 0, 30, "one of them works for all")
    killed = stack.leader()
    stack.replicas[killed].popen.kill()
    stack.replicas[killed].wait()
    stack.http.close()  # the test's own connections to it, which a client makes anew
    late = Run(stack, STEPS, queue, name="late")  # its start must be sent by the other one
    for run in runs:
        run.until(4)
    wait_until(lambda: stack.leader() == 1 - killed, 30, "the other one works for all")
    stack.replicas[killed] = stack.start_replica(killed)
    stack.replicas[killed].expect("control_plane.listening")
    late.until(1)
    server.stop(signal.SIGQUIT)  # as a crash
    key = {"Authorization": f"Bearer {stack.key}"}
    asked = requests.get(f"http://127.0.0.1:{stack.ports[0]}/api/v1/agents", headers=key, timeout=60)
    assert (asked.status_code, asked.headers.get("retry-after")) == (503, "1"), asked.text
    server.start()
    for port in stack.ports:
        wait_until(partial(answers, port, key), 30, "it has found PostgreSQL again")
    for run in (*runs, late):
        check(stack, run)
    assert all(each.popen.poll() is None for each in stack.replicas)  # no server has ended by it
    wait_until(lambda: stack.call("GET", f"/jobs/{made['id']}/executions"), 90, "a run by the schedule")
    stack.call("POST", f"/jobs/{made['id']}/disable")
    starts = Counter(each["created_at"][:16] for each in stack.call("GET", f"/jobs/{made['id']}/executions"))
    assert max(starts.values()) == 1, starts  # one in each minute


def test_of_two_answers_at_once_one_counts(stack: ReplicaStack) -> None:
    skill = {"name": "files", "type": "file_system", "configuration": {}}
    agent = stack.agent("asks", skills=[skill])
    stack.worker()
    moves = [{"tools": [{"name": "save_file", "arguments": {"path": "x.txt", "content": "x"}}]}, {"text": "done"}]
    execution = stack.execute("demo:script " + json.dumps(moves), agent=agent)
    asked = stack.first(execution, "approval_requested")["approval_id"]
    answers: list[int] = []

    def answer(number: int) -> None:
        url = f"http://127.0.0.1:{stack.ports[number % 2]}/api/v1/approvals/{asked}/approve"
        answers.append(
            requests.post(url, json={}, headers={"Authorization": f"Bearer {stack.key}"}, timeout=60).status_code
        )

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert stack.wait(execution)["status"] == "completed"
    events = stack.call("GET", f"/executions/{execution}/events?limit=1000")
    assert [event["event_type"] for event in events].count("approval_resolved") == 1
    assert sorted(answers).count(200) >= 1 and set(answers) <= {200, 409}
