"""A7: a turn with a great many large results, on a host without a free core, is no deadlock and wedges nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.faults.test_long_conversation import words
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import FINAL, Stack, wait_until

FILES = {"name": "files", "type": "file_system", "configuration": {}}
RESULTS = 200
SIZE = 49_000  # characters of each result: just below what a model sees of one


@pytest.fixture
def busy_host() -> Iterator[None]:
    """Keep every core busy four times over."""
    burn = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(burn) for _ in range(4 * (os.cpu_count() or 1))]
    yield
    for hog in hogs:
        hog.kill()
        hog.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_large_results_in_one_turn(stack: Stack, busy_host: None) -> None:
    workspace = stack.folder / "heavy"
    workspace.mkdir()
    for n in range(RESULTS):
        (workspace / f"{n}.txt").write_text(words(n, SIZE))
    reads = [{"name": "read_file", "arguments": {"path": f"{n}.txt"}} for n in range(RESULTS)]
    queue = stack.queue("heavy")
    with ModelEndpoint([{"tools": reads}, {"text": "I have read all."}]) as endpoint:
        worker = stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
        agent = stack.agent("heavy", skills=[FILES], model_id="gpt-test")
        environment = {"working_dir": str(workspace)}
        execution = stack.execute("Read.", agent=agent, queue=queue, execution_environment=environment)
        began = time.monotonic()
        # Not by the stream: this host has no core free for a client that reads 2 MB of events byte by byte.
        wait_until(lambda: stack.execution(execution)["status"] in FINAL, 500, "the execution ends")
        seconds, row = time.monotonic() - began, stack.execution(execution)
        lines = list(worker.lines)
    assert (row["status"], row["response"]) == ("completed", "I have read all."), row
    assert [line for line in lines if "deadlock" in line.lower() or "TMPRL1101" in line] == []
    events = stack.call("GET", f"/executions/{execution}/events?after=0&limit=1000")
    done = [event for event in events if event["event_type"] == "tool_completed"]
    assert len(done) == RESULTS
    print(f"{RESULTS} results of {SIZE:,} characters in one turn: {seconds:.0f} s, load {os.getloadavg()[0]:.0f}")
