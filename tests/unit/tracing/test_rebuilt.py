"""A trace that is made of stored events, for hosts whose workers sent none; tests/faults compares it with live ones."""

from __future__ import annotations

import json
from typing import Any

from kubiya_worker.tracing import ids, otlp_json, rebuilt

ROW = {
    "id": "e1",
    "entity_id": "a1",
    "entity_name": "ops",
    "execution_type": "agent",
    "status": "failed",
    "execution_metadata": {},
}
SECRET = "the-secret-prompt"


def event(kind: str, second: float, **data: Any) -> dict[str, Any]:
    return {"event_type": kind, "timestamp": f"2026-01-01T00:00:{second:06.3f}+00:00", "data": data}


def answer(second: float, name: str, **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 7, "output_tokens": 3, "cost_usd": 0.25}
    about = {"role": "assistant", "message_id": name, "content": SECRET, "model": "big", "usage": usage}
    return event("message", second, **about, **more)


EVENTS = [
    event("run_started", 0, run_id="r1", execution_id="e1"),
    event("message", 0, role="user", message_id="u1", content=SECRET),
    answer(3, "m1", step={"worker_id": "w1", "attempt": 2, "started_at": "2026-01-01T00:00:01+00:00"}),
    answer(3, "m1"),  # stored twice, as the control plane has no ids of ours
    event("approval_requested", 4, approval_id="0123456789", tool_name="shell", tool_execution_id="c1"),
    event("approval_resolved", 6, approval_id="0123456789", status="approved"),
    event("tool_started", 6, tool_name="shell", tool_execution_id="c1", tool_arguments={"command": SECRET}),
    event("tool_completed", 8, tool_name="shell", tool_execution_id="c1", status="failed", outcome="unknown"),
    answer(9, "m2", step={"worker_id": "w1", "activity": "model-1-3", "attempt": 1}),  # one before it came to nothing
    event("status", 9, status="waiting_for_input"),
    event("message", 20, role="user", message_id="u2", content=SECRET),
    event("tool_completed", 21, tool_name="rm", tool_execution_id="c2", status="failed", outcome="denied"),
]


def test_each_step_of_each_turn_has_its_live_id_its_times_and_no_text() -> None:
    placed = rebuilt.spans_of(ROW, EVENTS)
    told = [(span.name, span.id, (span.end - span.start) / 1e9, span.error) for _, span in placed]
    assert told == [
        ("chat big", ids.step_span("e1", "model-1-1", 2), 2, ""),
        ("approval shell", ids.span_id("e1", "approval", "0123456789"), 2, ""),
        ("execute_tool shell", ids.step_span("e1", "tool-c1-01234567", 1), 2, "worker_lost"),
        ("chat big", ids.step_span("e1", "model-1-3", 1), 1, ""),
        ("invoke_agent ops", ids.agent_span("e1", 1), 9, ""),
        ("execute_tool rm", ids.step_span("e1", "tool-c2", 1), 0, "tool_error"),
        ("invoke_agent ops", ids.agent_span("e1", 2), 1, "failed"),
    ]
    first, second = placed[4], placed[6]
    assert {trace.trace_id for trace, _ in placed[:5]} == {ids.trace_id("e1", 1)}
    assert {trace.trace_id for trace, _ in placed[5:]} == {ids.trace_id("e1", 2)}
    assert first[1].attributes["gen_ai.usage.input_tokens"] == 14 and first[1].attributes["kubiya.cost_usd"] == 0.5
    assert second[1].link == (first[0].trace_id, first[1].id)
    assert placed[0][1].attributes["kubiya.worker.id"] == "w1"
    assert SECRET not in repr(placed)


def test_a_callers_trace_and_a_member_are_found() -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    member = {"member_execution_id": "e1.1", "member_name": "logs", "parent_tool_execution_id": "c1"}
    events = [
        EVENTS[0],
        event("tool_started", 1, tool_name="ask_logs", tool_execution_id="c1", delegate="logs"),
        event("member_message_complete", 2, role="assistant", message_id="n1", model="small", **member),
        event("tool_completed", 3, tool_name="ask_logs", tool_execution_id="c1", status="success", outcome="success"),
    ]
    row = {**ROW, "execution_type": "team", "status": "completed", "execution_metadata": {"traceparent": caller}}
    placed = rebuilt.spans_of(row, events)
    assert {f"{trace.trace_id:032x}" for trace, _ in placed} == {"0af7651916cd43dd8448eb211c80319c"}
    by_name = {span.name: span for _, span in placed}
    assert by_name.keys() == {"chat small", "execute_tool ask_logs", "invoke_workflow ops", "invoke_agent logs"}
    team = by_name["invoke_workflow ops"]
    assert team.parent == 0xB7AD6B7169203331 and by_name["execute_tool ask_logs"].parent == team.id
    assert by_name["invoke_agent logs"].parent == by_name["execute_tool ask_logs"].id
    assert by_name["chat small"].parent == by_name["invoke_agent logs"].id
    assert by_name["chat small"].id == ids.step_span("e1.1", "model-1-1", 1)


def test_otlp_json_has_hexadecimal_ids_and_numbers_as_texts() -> None:
    document = json.loads(json.dumps(otlp_json.document(rebuilt.spans_of(ROW, EVENTS))))
    (resource,) = document["resourceSpans"]
    assert {"key": "service.name", "value": {"stringValue": "kubiya-worker"}} in resource["resource"]["attributes"]
    (scope,) = resource["scopeSpans"]
    chat, *_, tool, root = scope["spans"]
    assert (len(chat["traceId"]), len(chat["spanId"]), chat["kind"], root["kind"]) == (32, 16, 3, 1)
    assert chat["startTimeUnixNano"] == "1767225601000000000" and "links" in root and "parentSpanId" not in root
    assert tool["status"] == {"code": 2} and chat["status"] == {}
    assert {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}} in chat["attributes"]
    assert {"key": "kubiya.cost_usd", "value": {"doubleValue": 0.25}} in chat["attributes"]
    assert {"key": "error.type", "value": {"stringValue": "tool_error"}} in tool["attributes"]
