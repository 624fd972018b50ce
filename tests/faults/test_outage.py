"""The control plane is away while executions run: they go on, and afterwards their streams are whole and in order.

What cannot be told waits on the worker's disk, within a cap. The worker is killed meanwhile; steps of one execution run
on several hosts; disks are full or too small. No run is held up by any of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionDescription

from kubiya_worker.protocol import names
from tests.support.small_disk import small_disk
from tests.support.stack import Process, Stack, free_port, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
LIMIT = 120.0  # seconds
WORDS = 12


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """The stack of this module; each test starts its control plane again, and ends with its own workers."""
    with shared.lent() as lent:
        yield lent


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


def text_of(step: int) -> str:
    return " ".join(f"s{step}w{word}" for word in range(WORDS)) + "."


def script(steps: int, log: Path, calls: int, said: str) -> str:
    """Each step says so in a file when it is done, since nobody else hears of it."""
    others = [{"name": "shell", "arguments": {"command": "sleep 0.2"}} for _ in range(calls - 1)]
    moves: list[dict[str, Any]] = [
        {
            "text": text_of(step),
            "delay_ms": 10,
            "tools": [
                {"name": "shell", "arguments": {"command": f"sh -c 'echo {step} >> {log}; echo out{step} {said}'"}},
                *others,
            ],
        }
        for step in range(steps)
    ]
    return "demo:script " + json.dumps([*moves, {"text": text_of(steps), "delay_ms": 10}])


def place(event: dict[str, Any]) -> str:
    """The step that an event belongs to."""
    return str(event["data"].get("message_id") or "")


class Run:
    def __init__(
        self,
        stack: Stack,
        steps: int,
        queue: str,
        calls: int = 1,
        said: str = "",
        name: str = "",
    ) -> None:
        self.stack, self.steps, self.calls, self.log = stack, steps, calls, stack.trace("done")
        agent = stack.agent(name or f"steady-{queue}", skills=[SHELL])
        self.id = stack.execute(script(steps, self.log, calls, said), agent=agent, queue=queue)

    def done(self) -> int:
        return len(self.log.read_text().split()) if self.log.exists() else 0

    def asks(self) -> bool:
        """Return whether a call of the model is pending, as far as Temporal knows."""

        async def described() -> WorkflowExecutionDescription:
            client = await Client.connect(self.stack.temporal_address)
            return await client.get_workflow_handle(f"agent-execution-{self.id}").describe()

        pending = asyncio.run(described()).raw_description.pending_activities
        return any(activity.activity_type.name == names.CALL_MODEL for activity in pending)

    def until(self, steps: int) -> None:
        wait_until(lambda: self.done() >= steps, LIMIT, f"{steps} steps")

    def check(self) -> list[dict[str, Any]]:
        """Completed, each tool called once, and the stream in the order of what happened."""
        row = self.stack.wait(self.id, timeout=LIMIT)
        assert self.stack.server is not None
        assert not any("events.out_of_order" in line for line in self.stack.server.lines)
        assert (row["status"], row["error_message"]) == ("completed", None)
        assert self.log.read_text().split() == [str(step) for step in range(self.steps)]
        events: list[dict[str, Any]] = self.stack.call("GET", f"/executions/{self.id}/events?limit=1000")
        told = [event for event in events if place(event) and event["data"].get("role") != "user"]
        order = list(dict.fromkeys(map(place, told)))
        assert len(order) == self.steps + 1
        assert [place(event) for event in told] == sorted(map(place, told), key=order.index), "steps are mixed"
        for step, message_id in enumerate(order):
            mine = [event for event in told if place(event) == message_id]
            kinds = [event["event_type"] for event in mine]
            text = kinds.index("message")
            assert set(kinds[:text]) == {"message_chunk"}
            assert set(kinds[text + 1 :]) <= {"tool_started", "tool_completed"}
            calls = list(dict.fromkeys(e["data"]["tool_execution_id"] for e in mine[text + 1 :]))
            assert len(calls) == (self.calls if step < self.steps else 0)
            for call in calls:
                seen = [e["event_type"] for e in mine if e["data"].get("tool_execution_id") == call]
                assert seen == ["tool_started", "tool_completed"]
            assert "".join(e["data"]["content"] for e in mine if e["event_type"] == "message_chunk") == text_of(step)
        assert [event["event_type"] for event in events[-2:]] == ["status", "done"]
        return events


def spooled(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.log"))


def on_disk(folder: Path) -> str:
    return "".join(path.read_text() for path in spooled(folder))


def away(stack: Stack) -> None:
    assert stack.server is not None
    stack.server.kill()


@pytest.mark.timeout(300)
def test_an_outage_is_kept_on_disk_and_told_in_order_afterwards(stack: Stack, tmp_path: Path) -> None:
    queue, spool = stack.queue("away"), tmp_path / "spool"
    worker = stack.worker(queue, KUBIYA_SPOOL=str(spool))
    run = Run(stack, 6, queue, said=stack.key)
    run.until(1)
    assert spooled(spool) == []  # nothing is written while the control plane takes events
    away(stack)
    run.until(6)  # the run does not wait for it
    wait_until(lambda: text_of(6).split()[-1] in on_disk(spool), LIMIT, "the answer on disk")
    assert stack.key not in on_disk(spool) and "out5" in on_disk(spool)
    assert {oct(path.stat().st_mode & 0o777) for path in [spool, *spool.rglob("*")]} == {"0o700", "0o600"}
    stack.start_server()
    run.check()
    wait_until(lambda: not spooled(spool), LIMIT, "an empty spool")
    assert not any("events.lost" in line for line in worker.lines)


@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_meanwhile_loses_nothing(stack: Stack, tmp_path: Path) -> None:
    queue, spool = stack.queue("killed"), tmp_path / "spool"
    first = stack.worker(queue, KUBIYA_SPOOL=str(spool))
    run = Run(stack, 6, queue)
    run.until(1)
    away(stack)
    run.until(6)
    wait_until(lambda: text_of(6).split()[-1] in on_disk(spool), LIMIT, "the answer on disk")
    wait_until(lambda: not run.asks(), LIMIT, "Temporal has heard of the answer: it is not asked for again")
    first.kill()
    assert spooled(spool)
    stack.start_server()
    second = stack.worker(queue, KUBIYA_SPOOL=str(spool))
    second.expect("spool.taken_over")
    run.check()
    wait_until(lambda: not spooled(spool), LIMIT, "an empty spool")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_order_holds_when_the_steps_were_on_several_hosts(stack: Stack, tmp_path: Path) -> None:
    """Two workers whose disks are apart: each tells its own part, and each waits for the other's turn."""
    queue, spools = stack.queue("apart"), [tmp_path / "one", tmp_path / "two"]
    for spool in spools:
        stack.worker(queue, KUBIYA_SPOOL=str(spool), MAX_CONCURRENT_ACTIVITIES="1")
    run = Run(stack, 6, queue, calls=3)
    run.until(1)
    away(stack)
    run.until(6)
    last = text_of(6).split()[-1]
    wait_until(lambda: last in "".join(map(on_disk, spools)), LIMIT, "the answer on disk")
    assert all(spooled(spool) for spool in spools), "one worker did all the work"
    stack.start_server()
    run.check()


@pytest.mark.timeout(300)
def test_past_the_cap_the_run_goes_on_and_the_loss_is_told(stack: Stack, tmp_path: Path) -> None:
    """A long answer does not fit on disk with its pieces: they are given up, the answer is not."""
    queue, spool, port = stack.queue("small"), tmp_path / "spool", free_port()
    worker = stack.worker(queue, KUBIYA_SPOOL=str(spool), KUBIYA_SPOOL_MAX_BYTES="5000", KUBIYA_METRICS_PORT=str(port))
    long, gate = "long " * 600, tmp_path / "gate"
    wait = {"command": f"sh -c 'until test -e {gate}; do sleep 0.05; done'"}
    moves = [
        {"text": "Wait.", "tools": [{"name": "shell", "arguments": wait}]},
        {"text": long, "delay_ms": 0},
    ]
    agent = stack.agent("long", skills=[SHELL])
    execution = stack.execute("demo:script " + json.dumps(moves), agent=agent, queue=queue)
    stack.first(execution, "tool_started")
    away(stack)
    gate.touch()
    worker.expect(r"events\.lost count=\d+", timeout=LIMIT)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lost = re.search(r"kubiya_worker_events_lost_total (\d+)", answer.read().decode())
    assert lost is not None and int(lost[1]) > 0
    stack.start_server()
    row = stack.wait(execution, timeout=LIMIT)
    assert (row["status"], row["response"].strip()) == ("completed", long.strip())
    events = stack.call("GET", f"/executions/{execution}/events?limit=1000")
    whole = [e["data"]["content"] for e in events if e["event_type"] == "message" and e["data"]["role"] == "assistant"]
    assert [text.strip() for text in whole] == ["Wait.", long.strip()]


@pytest.mark.timeout(300)
def test_a_full_disk_holds_no_run_up_and_loses_nothing(stack: Stack, tmp_path: Path) -> None:
    queue = stack.queue("full")
    with small_disk(tmp_path / "disk", "8k") as disk:
        worker: Process = stack.worker(queue, KUBIYA_SPOOL=str(disk / "spool"))
        run = Run(stack, 8, queue)
        run.until(1)
        away(stack)
        run.until(8)
        worker.expect("spool.unusable", timeout=LIMIT)
        stack.start_server()
        run.check()
        assert not any("events.lost" in line for line in worker.lines)
        worker.kill()
