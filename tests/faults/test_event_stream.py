"""D6: the event stream of a run loses nothing, repeats nothing and keeps its order, whatever is killed meanwhile.

The run streams many chunks and calls many tools. While it does, the worker and the control plane are killed by SIGKILL
and started again, alone and together; clients follow all the time: one that stays as long as it can, one that hangs up
every few events and comes back with `Last-Event-ID`, and one that reads too slowly.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.event_stream import shown_texts
from tests.support.stack import Process, Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
WORDS = 60  # in each step, a chunk for each
LIMIT = 240.0  # seconds that a client follows at the most


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path) as running:
        yield running


def text_of(step: int) -> str:
    return " ".join(f"s{step}w{word}" for word in range(WORDS)) + "."


def script(steps: int) -> str:
    moves: list[dict[str, Any]] = [
        {
            "text": text_of(step),
            "delay_ms": 15,
            "tools": [{"name": "shell", "arguments": {"command": f"echo {step} {n}"}} for n in range(3)],
        }
        for step in range(steps)
    ]
    return "demo:script " + json.dumps([*moves, {"text": text_of(steps), "delay_ms": 15}])


@dataclass
class Client:
    """Frames as they came: nothing is dropped or sorted here. Those without a number are the stream's own."""

    stack: Stack
    execution: str
    frames: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0

    @property
    def last(self) -> str:
        return str(self.frames[-1]["id"]) if self.frames else "0"

    def follow(self, at_most: int | None = None) -> bool:
        """Read one connection's events, at most so many, and return whether `done` was among them."""
        self.connections += 1
        taken = 0
        for event in self.stack.events(self.execution, after=self.last, timeout=LIMIT):
            if "id" not in event:
                continue
            self.frames.append(event)
            taken += 1
            if event["event"] == "done":
                return True
            if taken == at_most:
                return False
        return False


def staying(client: Client) -> Client:
    assert client.follow()
    return client


def fickle(client: Client) -> Client:
    chance = random.Random(6)
    while not client.follow(chance.randint(1, 6)):
        pass
    return client


def slow(client: Client) -> Client:
    """Reads a few events, and then nothing for a while: what comes meanwhile waits for it."""
    while not client.follow(40):
        time.sleep(0.3)  # this is what the client does, not a wait for something
    return client


def sequences(client: Client) -> list[int]:
    return [int(frame["id"].split("_")[-2]) for frame in client.frames]


class Chaos:
    """Kills and starts again: `w` the worker, `c` the control plane, `b` both at once."""

    def __init__(self, stack: Stack, queue: str) -> None:
        self.stack, self.queue = stack, queue
        self.worker: Process = stack.worker(queue)

    def strike(self, what: str) -> None:
        assert self.stack.server is not None
        if what in "wb":
            self.worker.kill()
        if what in "cb":
            self.stack.server.kill()
            self.stack.start_server()
        if what in "wb":
            self.worker = self.stack.worker(self.queue, ready=False)


def run_through(stack: Stack, blows: str) -> None:
    """One step for each blow. A blow falls while the step's text streams, or while its tools run, in turn."""
    queue = stack.queue("chaos")
    agent = stack.agent("storyteller", skills=[SHELL])
    chaos = Chaos(stack, queue)
    execution = stack.execute(script(len(blows)), agent=agent, queue=queue)
    watcher, waiting = Client(stack, execution), dict(enumerate(blows))
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(kind, Client(stack, execution)) for kind in (staying, fickle, slow)]
        for event in stack.events(execution, timeout=LIMIT):
            if "id" in event:
                watcher.frames.append(event)
            step = len({f["data"]["message_id"] for f in watcher.frames if f["event"] == "message_chunk"}) - 1
            # A worker that the blow before kills late, as it takes up this step's calls, never tells of their start.
            when = ("message_chunk",) if step % 2 == 0 else ("tool_started", "tool_completed")
            if event["event"] in when and step in waiting:
                chaos.strike(waiting.pop(step))
        clients = [watcher, *(other.result(LIMIT) for other in others)]
    late = staying(Client(stack, execution))  # the execution is over: its log is served as before
    row = stack.execution(execution)
    assert (row["status"], row["error_message"], waiting) == ("completed", None, {})
    log = stack.call("GET", f"/executions/{execution}/events?limit=1000")
    for client in [*clients, late]:
        assert sequences(client) == list(range(1, len(log) + 1))
        assert [(f["event"], f["data"]) for f in client.frames] == [(e["event_type"], e["data"]) for e in log]
    assert shown_texts(watcher.frames) == [text_of(step) for step in range(len(blows) + 1)]
    whole = [
        f["data"]["content"] for f in watcher.frames if f["event"] == "message" and f["data"]["role"] == "assistant"
    ]
    assert whole == shown_texts(watcher.frames)
    calls = {
        kind: [f["data"]["tool_execution_id"] for f in watcher.frames if f["event"] == kind]
        for kind in ("tool_started", "tool_completed")
    }
    assert len(calls["tool_completed"]) == len(set(calls["tool_completed"])) == 3 * len(blows)
    # A worker that is killed as it takes a call up has not said so: such a call ends with its outcome unknown.
    unknown = {f["data"]["tool_execution_id"] for f in watcher.frames if f["data"].get("outcome") == "unknown"}
    assert len(calls["tool_started"]) == len(set(calls["tool_started"]))
    assert set(calls["tool_completed"]) - set(calls["tool_started"]) <= unknown
    told = {kind: blows.count(kind) for kind in "wcb"}
    connections = sum(client.connections for client in clients)
    print(f"{len(log)} events, 5 clients, {connections} connections, kills {told}: 0 lost, 0 duplicated, 0 reordered")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_stream_is_whole_through_kills_of_worker_and_control_plane(stack: Stack) -> None:
    run_through(stack, "cwbc")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_stream_is_whole_through_many_kills(stack: Stack) -> None:
    run_through(stack, "cwbcbwcwbbcc")
