"""A long command belongs to one host of a queue; a step about it that another host takes goes on at that one."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from kubiya_worker.process.replay import fault_of
from kubiya_worker.workflows.registry import WORKFLOWS
from tests.support.demo_scripts import script, shell, until
from tests.support.stack import Process, Stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def step(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tools": [{"name": tool, "arguments": arguments}]}


class TwoHosts:
    """The hosts `one` and `two` of a queue. The command runs on `one`, whose only slot is taken by another call then.

    So each step after that lands on `two`, while a worker of `one` runs.
    """

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder, self.execution = stack, folder, ""
        self.queue = f"hosts-{uuid.uuid4().hex[:6]}"
        stack.queue(self.queue)
        self.gate = folder / "gate"
        self.workers: dict[str, Process] = {}

    def start(self, host: str) -> None:
        own = self.folder / host
        own.mkdir(exist_ok=True)
        self.workers[host] = self.stack.worker(
            self.queue,
            WORKER_HOSTNAME=host,
            HOME=str(own),
            KUBIYA_WORKSPACE=str(own / "work"),
            KUBIYA_LONG_COMMANDS=str(own / "commands"),
            MAX_CONCURRENT_ACTIVITIES="1" if host == "one" else "10",
        )

    def run(self, *later: dict[str, Any]) -> None:
        """Start the command on `one`; the steps `later` can only land on `two`."""
        self.start("one")
        limits: dict[str, Any] = {"allowed_commands": ["sh"], "long_commands": True, "long_timeout_seconds": 7200}
        skill = {"name": "shell", "type": "shell", "configuration": limits}
        agent = self.stack.agent(self.queue, skills=[skill])
        command = f"sh -c 'until test -e {self.gate}; do sleep 0.1; done; echo finished; exit 3'"
        steps = [step("shell_start", command=command), shell(until(self.folder / "go")), *later, {"text": "done"}]
        self.execution = self.stack.execute(script(*steps), agent=agent, queue=self.queue)
        next(each for each in self.events("tool_started") if each["tool_name"] == "shell")
        occupied = self.stack.trace(f"occupied-{self.queue}")
        occupying = shell(f"sh -c 'touch {occupied}; until test -e {self.gate}; do sleep 0.1; done'")
        other = self.stack.execute(script(occupying, {"text": "over"}), agent=agent, queue=self.queue)
        next(each for each in self.stack.events(other) if each["data"].get("status") == "running")  # Temporal knows it
        wait_until(lambda: "call_tool" in self.activities(other), 60, "the other call waits for the slot")
        (self.folder / "go").touch()
        wait_until(occupied.exists, 60, "the slot is taken")
        self.start("two")

    def events(self, kind: str) -> Iterator[dict[str, Any]]:
        return (each["data"] for each in self.stack.events(self.execution) if each["event"] == kind)

    def activities(self, execution: str) -> list[str]:
        every = [each.activity_task_scheduled_event_attributes for each in self.stack.history(execution)]
        return [each.activity_type.name for each in every if each.activity_id]

    def told(self, tool: str) -> str:
        """Return how the first call of the tool has ended, once it has."""
        return json.dumps(next(each for each in self.events("tool_completed") if each["tool_name"] == tool))

    def timers(self) -> int:
        return sum(each.HasField("timer_started_event_attributes") for each in self.stack.history(self.execution))

    def hosts(self, activity: str) -> list[tuple[bool, str]]:
        """Return for each activity of this type whether it was on a host's own queue, and which host has run it."""
        history = self.stack.history(self.execution)
        scheduled = {each.event_id: each.activity_task_scheduled_event_attributes for each in history}
        started = [each.activity_task_started_event_attributes for each in history]
        found = [(scheduled[each.scheduled_event_id], each.identity) for each in started if each.scheduled_event_id]
        return [
            (".host-" in each.task_queue.name, identity.rpartition("@")[2])
            for each, identity in found
            if each.activity_type.name == activity
        ]

    def replays(self) -> bool:
        history = WorkflowHistory("replayed", self.stack.history(self.execution))
        return asyncio.run(fault_of(Replayer(workflows=WORKFLOWS, debug_mode=True), history)) is None


@pytest.fixture
def hosts(stack: Stack, tmp_path: Path) -> Iterator[TwoHosts]:
    made = TwoHosts(stack, tmp_path)
    yield made
    made.gate.touch()  # a command outlives the worker that would end it
    (tmp_path / "go").touch()
    for worker in made.workers.values():
        worker.kill()


def test_a_read_a_wait_and_a_stop_go_to_the_host_that_has_the_command(hosts: TwoHosts) -> None:
    hosts.run(step("shell_wait"), step("shell_wait", seconds=7200))
    read = next(each for each in hosts.events("tool_completed") if each["tool_name"] == "shell_wait")
    command = read["tool_result"]["command_id"]
    assert command.endswith("@one") and "still running" in read["tool_output"]
    wait_until(lambda: hosts.hosts("call_tool")[-1] == (True, "one") and hosts.timers(), 60, "the workflow waits")
    message = script(step("shell_stop", id=command), step("shell_wait", id=command), {"text": "stopped"})
    hosts.stack.call("POST", f"/executions/{hosts.execution}/message", {"message": message})
    assert "shell_stop was called" in hosts.told("shell_stop")
    hosts.stack.wait(hosts.execution)
    ends = [each for each in hosts.events("tool_completed") if each["tool_name"] == "shell_wait"]
    assert "a person has written" in ends[1]["tool_output"] and "shell_stop was called" in ends[2]["tool_output"]
    assert [each["tool_name"] for each in hosts.events("tool_started")].count("shell_wait") == 3, "each is told once"
    calls = hosts.hosts("call_tool")
    assert (False, "two") in calls and set(calls[2:]) == {(False, "two"), (True, "one")}
    assert hosts.replays()


@pytest.mark.parametrize("back", [True, False])
def test_a_host_that_is_killed_is_waited_for_and_told_of_when_it_stays_away(hosts: TwoHosts, back: bool) -> None:
    hosts.run(step("shell_wait", seconds=7200))
    wait_until(lambda: hosts.hosts("call_tool")[-1] == (True, "one") and hosts.timers(), 60, "the workflow waits")
    hosts.workers["one"].kill()
    hosts.gate.touch()  # the command ends while its host has no worker
    hosts.stack.call("POST", f"/executions/{hosts.execution}/message", {"message": "How far is it?"})
    wait_until(lambda: hosts.activities(hosts.execution)[-1] == "find_host", 60, "the host is looked for")
    if back:
        hosts.start("one")
        told = hosts.told("shell_wait")
        assert "finished" in told and "exit code 3" in told
    else:
        told = hosts.told("shell_wait")
        assert "Outcome unknown: only the host one knows" in told and "a person has written" in told
        assert json.loads(told)["outcome"] == "unknown"
    hosts.stack.wait(hosts.execution)
    assert hosts.replays()
