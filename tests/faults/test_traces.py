"""The trace of an execution, as a collector gets it: one trace and one root, whoever worked on it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kubiya_worker.tracing import rebuilt
from tests.support.collector import Collector, ReceivedSpan, collector
from tests.support.demo_scripts import script, shell
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Process, Stack

pytestmark = pytest.mark.slow

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}}
SLOW = {"text": "word " * 60, "delay_ms": 100}


@pytest.fixture
def traces() -> Iterator[Collector]:
    with collector() as running:
        yield running


def traced_worker(stack: Stack, traces: Collector, queue: str, model: str = "") -> Process:
    """Start a worker that sends traces. One that asks a `model` endpoint tells it of them."""
    variables = {"OPENAI_BASE_URL": model, "OPENAI_API_KEY": "sk-test", "KUBIYA_TRACE_MODELS": "true"} if model else {}
    sending = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url, "OTEL_BSP_SCHEDULE_DELAY": "100", **sending, **variables}
    return stack.worker(queue, ready=True, kill_at="", **environment)


def start(stack: Stack, prompt: str, agent: str, queue: str, flags: str = "01", kind: str = "agents") -> str:
    answer = stack.http.post(
        f"{stack.url}/api/v1/{kind}/{agent}/execute",
        json={"prompt": prompt, "worker_queue_id": queue},
        headers={"traceparent": f"00-{TRACE}-{CALLER}-{flags}"},
        timeout=30,
    )
    answer.raise_for_status()
    return str(answer.json()["execution_id"])


def rebuilt_from_events(stack: Stack, execution: str) -> set[tuple[str, str, str, bool]]:
    """Return what `kubiya runs export --as-trace` makes of the execution: names, ids, parents, and what failed."""
    events = stack.call("GET", f"/executions/{execution}/events?after=0&limit=1000")
    row = stack.call("GET", f"/executions/{execution}")
    placed = rebuilt.spans_of(row, events)
    assert {f"{trace.trace_id:032x}" for trace, _ in placed} == {TRACE}
    return {(x.name, f"{x.id:016x}", f"{x.parent:016x}", bool(x.error)) for _, x in placed}


def sent(spans: list[ReceivedSpan]) -> set[tuple[str, str, str, bool]]:
    return {(span.name, span.id, span.parent, span.failed) for span in spans}


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


def test_a_call_whose_worker_is_killed_and_that_runs_once_is_in_the_trace(stack: Stack, traces: Collector) -> None:
    queue = stack.queue("trace-once")
    agent = stack.agent("trace-once", skills=[SHELL])
    first = traced_worker(stack, traces, queue)
    execution = start(stack, script(shell("sleep 60"), {"text": "done"}), agent, queue)
    stack.first(execution, "tool_started")
    time.sleep(4)  # two heartbeats; nothing tells of them
    first.kill()
    traced_worker(stack, traces, queue)
    assert stack.wait(execution)["status"] == "completed"
    assert stack.first(execution, "tool_completed")["outcome"] == "unknown"
    (root,) = traces.wait_for("invoke_agent")
    assert [line.strip() for line in tree(traces.spans)] == [
        "invoke_agent trace-once",
        "chat demo",
        "execute_tool shell",
        "chat demo",
    ]
    (lost,) = traces.named("execute_tool")
    before, after = sorted(traces.named("chat"), key=lambda span: span.start)
    assert lost.failed and lost.parent == root.id and lost.end - lost.start > 1
    assert (lost.attributes["error.type"], lost.attributes["kubiya.status"]) == ("worker_lost", "unknown")
    assert lost.attributes["kubiya.worker.id"] == before.attributes["kubiya.worker.id"]
    assert lost.attributes["kubiya.worker.id"] != after.attributes["kubiya.worker.id"]
    assert rebuilt_from_events(stack, execution) == sent(traces.spans)


def test_a_team_on_two_queues_is_one_trace_with_each_member_below_its_call(stack: Stack, traces: Collector) -> None:
    files = {"name": "files", "type": "file_system", "configuration": {}}
    writer = stack.agent("trace-writer", skills=[files])
    configuration = {
        "member_ids": [writer],
        "llm": {"model": "demo"},
        "member_queues": {writer: stack.queue("trace-member")},
    }
    crew = str(stack.call("POST", "/teams", {"name": "trace-crew", "configuration": configuration})["id"])
    queue = stack.queue("trace-team")
    for each in (queue, "trace-member"):
        traced_worker(stack, traces, each)
    save = {"name": "save_file", "arguments": {"path": "report.md", "content": "all is well"}}
    task = script({"tools": [save]}, {"text": "Saved."})
    ask = {"name": "ask_trace-writer", "arguments": {"task": task}}
    execution = start(stack, script({"tools": [ask]}, {"text": "Done."}), crew, queue, kind="teams")
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["response"] == "Done."
    traces.wait_for("invoke_workflow")
    assert {span.trace for span in traces.spans} == {TRACE} and not any(span.failed for span in traces.spans)
    assert tree(traces.spans) == [
        "invoke_workflow trace-crew",
        "  chat demo",
        "  execute_tool ask_trace-writer",
        "    invoke_agent trace-writer",
        "      chat demo",
        "      approval save_file",
        "      execute_tool save_file",
        "      chat demo",
        "  chat demo",
    ]
    (approval,) = traces.named("approval")
    assert approval.attributes["kubiya.approval.decision"] == "approved" and approval.end > approval.start
    assert rebuilt_from_events(stack, execution) == sent(traces.spans)
    queues = {span.attributes["kubiya.queue"].removesuffix(".models") for span in traces.named("chat")}
    assert len(queues) == 2


def test_a_caller_that_is_not_sampled_gets_no_span_and_each_turn_has_a_trace(stack: Stack, traces: Collector) -> None:
    queue = stack.queue("trace-turns")
    agent = stack.agent("trace-turns", skills=[SHELL])
    traced_worker(stack, traces, queue)
    silent = start(stack, script(shell("printenv TRACEPARENT"), {"text": "done"}), agent, queue, flags="00")
    told = stack.first(silent, "tool_completed")["tool_output"].strip()
    assert told.startswith(f"00-{TRACE}-") and told.endswith("-00")
    assert stack.wait(silent)["status"] == "completed"
    chat = stack.execute("hello", agent=agent, queue=queue, execution_metadata={"interactive": True})
    stack.wait_for_turn(chat, 1)
    stack.call("POST", f"/executions/{chat}/message", {"message": "and again"})
    stack.wait_for_turn(chat, 2)
    first, second = traces.wait_for("invoke_agent", count=2)
    assert first.trace != second.trace and TRACE not in (first.trace, second.trace)
    assert (first.parent, second.parent, first.links) == ("", "", [])
    assert second.links == [(first.trace, first.id)]
    stack.call("POST", f"/executions/{chat}/cancel")
    assert stack.wait(chat)["status"] == "cancelled"


def test_a_models_endpoint_gets_the_id_of_the_call_and_the_log_has_it(stack: Stack, traces: Collector) -> None:
    with ModelEndpoint([{"status": 400, "body": {"error": {"message": "no"}}}]) as endpoint:
        queue = stack.queue("trace-models")
        worker = traced_worker(stack, traces, queue, endpoint.url)
        agent = stack.agent("trace-models", model_id="gpt-test")
        assert stack.wait(start(stack, "hello", agent, queue))["status"] == "failed"
        (chat,) = traces.wait_for("chat gpt-test")
        (root,) = traces.wait_for("invoke_agent")
        asked = endpoint.requests[-1]["headers"]["traceparent"]
    assert asked == f"00-{TRACE}-{chat.id}-01"
    assert chat.failed and chat.attributes["error.type"] == "bad_request" and root.failed
    assert chat.parent == root.id and root.attributes["kubiya.status"] == "failed"
    worker.expect(f"trace_id={TRACE} span_id={chat.id}")
    with traces.came:
        assert traces.came.wait_for(lambda: len(traces.metrics) == 2, 30), traces.metrics
    of = {metric.name: metric.attributes.get("error.type") for metric in traces.metrics}
    assert of == {
        "gen_ai.client.operation.duration": "bad_request",
        "gen_ai.invoke_agent.duration": root.attributes["error.type"],
    }
