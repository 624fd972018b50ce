"""The trace of an execution, as a collector gets it: one trace and one root, whoever worked on it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.collector import Collector, ReceivedSpan, collector
from tests.support.demo_scripts import script, shell
from tests.support.stack import Process, Stack

pytestmark = pytest.mark.slow

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}}
SLOW = {"text": "word " * 60, "delay_ms": 100}


@pytest.fixture
def traces() -> Iterator[Collector]:
    with collector() as running:
        yield running


def traced_worker(stack: Stack, traces: Collector, queue: str) -> Process:
    return stack.worker(queue, OTEL_EXPORTER_OTLP_ENDPOINT=traces.url, OTEL_BSP_SCHEDULE_DELAY="100")


def start(stack: Stack, prompt: str, agent: str, queue: str, flags: str = "01", kind: str = "agents") -> str:
    answer = stack.http.post(
        f"{stack.url}/api/v1/{kind}/{agent}/execute",
        json={"prompt": prompt, "worker_queue_id": queue},
        headers={"traceparent": f"00-{TRACE}-{CALLER}-{flags}"},
        timeout=30,
    )
    answer.raise_for_status()
    return str(answer.json()["execution_id"])


def tree(spans: list[ReceivedSpan]) -> list[str]:
    """Return the spans as lines, each below its parent, in the order of their beginnings."""

    def below(parent: str, depth: int) -> list[str]:
        mine = sorted((each for each in spans if each.parent == parent), key=lambda each: each.start)
        return [line for each in mine for line in ["  " * depth + each.name, *below(each.id, depth + 1)]]

    return below(CALLER, 0)


def test_a_run_over_two_workers_and_a_kill_is_one_trace(stack: Stack, traces: Collector) -> None:
    queue = stack.queue("traces")
    agent = stack.agent("traced", skills=[SHELL])
    first = traced_worker(stack, traces, queue)
    execution = start(stack, script(shell("printenv TRACEPARENT"), SLOW, {"text": "done"}), agent, queue)
    told = stack.first(execution, "tool_completed")["tool_output"].strip()
    (tool,) = traces.wait_for("execute_tool shell")
    assert told == f"00-{TRACE}-{tool.id}-01"
    stack.first(execution, "message_chunk")
    time.sleep(4)  # two heartbeats; nothing tells of them
    first.kill()
    traced_worker(stack, traces, queue)
    assert stack.wait(execution)["status"] == "completed"
    (root,) = traces.wait_for("invoke_agent")

    assert {span.trace for span in traces.spans} == {TRACE}
    assert len({span.id for span in traces.spans}) == len(traces.spans)
    assert (root.name, root.parent) == ("invoke_agent traced", CALLER)
    assert {span.parent for span in traces.spans if span is not root} == {root.id}
    assert [line.strip() for line in tree(traces.spans)] == [
        "invoke_agent traced",
        "chat demo",
        "execute_tool shell",
        "chat demo",
        "chat demo",
    ]
    lost, taken_up = sorted(traces.named("chat"), key=lambda span: span.start)[1:]
    assert lost.failed and lost.attributes["error.type"] == "worker_lost" and lost.end - lost.start > 1
    assert taken_up.attributes["kubiya.attempt"] == 2 and not taken_up.failed
    assert lost.attributes["kubiya.worker.id"] != taken_up.attributes["kubiya.worker.id"]
    assert root.start <= min(span.start for span in traces.spans) + 0.1
