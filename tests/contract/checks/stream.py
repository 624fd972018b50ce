"""The stream of an execution (docs/protocol.md#b5, #c1 to C.3)."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta

from tests.contract.checks.registry import checks
from tests.contract.control_planes import START, TERMINAL, Object, PlaneUnderTest, kinds, said
from tests.support.stack import wait_until

END = {"state": {"status": "completed", "current_response": "The end."}, "end": "complete"}


def _at(seconds: float) -> str:
    return (datetime.fromisoformat(START) + timedelta(seconds=seconds)).isoformat()


def _finish(plane: PlaneUnderTest, execution_id: str, **fields: object) -> None:
    """End a run as a worker does: send the last PATCH, then let the workflow end."""
    body = {"status": "completed", "response": "The end.", "completed_at": START, **fields}
    plane.call("PATCH", f"/executions/{execution_id}", body)
    plane.say(execution_id, END) if plane.published else None


def _history(events: list[Object]) -> list[Object]:
    """The messages before history_complete."""
    names = [event["event"] for event in events]
    return kinds(events[: names.index("history_complete")], "message")


@checks("stream.history-ids")
def ids_in_the_history(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    kept = [
        said("user", "q", f"{execution_id}_user_1", _at(0)),
        said("assistant", "a", f"{execution_id}_assistant_12", _at(1)),
    ]
    other = said("assistant", "b", f"{execution_id}_assistant_1_2", _at(9))
    plane.say_as_worker(execution_id, *kept, other)
    history = _history(plane.seen(execution_id, "history_complete"))
    ids = [m["message_id"] for m in history]
    assert ids[:2] == [m["message_id"] for m in kept]  # these two forms stay everywhere
    assert [m["content"] for m in history] == ["q", "a", "b"]
    if plane.published:  # any other is another id in the history than it was live
        assert ids[2] == f"{execution_id}_assistant_92eb5ffe"


@checks("stream.history-doubles")
def doubles_in_the_history(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    first = said("assistant", "same words", f"{execution_id}_assistant_1", _at(0))
    messages = [first, said("user", "q", f"{execution_id}_user_2", _at(1)), first]
    if plane.published:
        messages += [said("assistant", "same words", f"{execution_id}_assistant_2", _at(4))]
    messages += [said("assistant", "same words", f"{execution_id}_assistant_3", _at(60))]
    body = {"session_id": execution_id, "messages": messages}
    for message in {str(m["message_id"]): m for m in messages}.values():
        plane.event(execution_id, "message", **message)
    plane.call("POST", f"/executions/{execution_id}/session", body, 201)
    ids = [m["message_id"] for m in _history(plane.seen(execution_id, "history_complete"))]
    assert ids == [f"{execution_id}_assistant_1", f"{execution_id}_user_2", f"{execution_id}_assistant_3"]


@checks("stream.history-200")
def long_history(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    messages = [said("user", f"text {n}", f"{execution_id}_user_{n}", _at(n)) for n in range(205)]
    plane.say_as_worker(execution_id, *messages)
    events = plane.seen(execution_id, "history_complete")
    history = _history(events)
    assert [m["content"] for m in history] == [f"text {n}" for n in range(5, 205)]
    (told,) = kinds(events, "history_complete")
    assert told["message_count"] == 200 and told["is_truncated"] is True and told["has_more"] is True


@checks("stream.history-complete")
def end_of_the_history(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    plane.say_as_worker(execution_id, said("user", "q", f"{execution_id}_user_1"))
    _finish(plane, execution_id)
    events = plane.seen(execution_id)
    names = [event["event"] for event in events]
    assert names.count("history_complete") == 1 and names[-1] in TERMINAL
    (told,) = kinds(events, "history_complete")
    assert told["execution_id"] == execution_id and told["is_truncated"] is False


@checks("stream.chunks-replayed")
def chunks(plane: PlaneUnderTest) -> None:
    plane.short()
    execution_id = plane.run()
    key = f"{execution_id}_assistant_1"
    plane.event(execution_id, "message_chunk", role="assistant", content="All is well.", message_id=key, is_chunk=True)
    plane.say_as_worker(execution_id, said("assistant", "All is well.", key))
    _finish(plane, execution_id) if not plane.published else None
    events = plane.seen(execution_id)  # of the published one to its longest time
    assert [m["message_id"] for m in kinds(events, "message") if m.get("message_id") == key] == [key]
    again = [c["message_id"] for c in kinds(events, "message_chunk")]
    # On the published one they come again: a chunk of a message that is there is old.
    assert again == ([key] if plane.published else [])


@checks("stream.message-once")
def live_messages(plane: PlaneUnderTest) -> None:
    plane.short()
    execution_id = plane.run()
    key = f"{execution_id}_assistant_1"
    plane.say_as_worker(execution_id, said("assistant", "All is well.", key))
    _finish(plane, execution_id) if not plane.published else None
    events = plane.seen(execution_id)  # of the published one to its longest time
    assert [m["content"] for m in kinds(events, "message") if m.get("message_id") == key] == ["All is well."]


@checks("stream.cap")
def cap(plane: PlaneUnderTest) -> None:
    plane.short()
    if plane.world is None:
        return  # ours gives all, tests/integration/server has that
    execution_id = plane.run()
    for n in range(600):
        plane.world.publish(execution_id, "notice", {"message": str(n)})
    events = plane.watch(execution_id)
    got = [next(e for e in events if e["event"] == "notice") for _ in range(600)]
    for n in range(600, 1150):
        plane.world.publish(execution_id, "notice", {"message": str(n)})
    got += [event for event in events if event["event"] == "notice"]
    numbers = [int(e["data"]["message"]) for e in got]
    assert len(numbers) == 1000 and numbers == sorted(numbers), (len(numbers), numbers[:3], numbers[-3:])


@checks("stream.state-messages")
def messages_of_the_state(plane: PlaneUnderTest) -> None:
    plane.short()
    user = said("user", "q", "m1")
    execution_id = plane.run({"state": {"messages": []}})
    if not plane.published:
        return  # ours reads its own log alone
    wait_until(lambda: plane.state(execution_id), plane.patience, "the workflow answers")
    events = plane.watch(execution_id)
    for event in events:
        if event["event"] == "status":
            break
    plane.say(execution_id, {"state": {"messages": [user, said("assistant", "a", "m2")]}})
    flat = [e["data"] for e in events if e["event"] == "message" and e["data"]["content"] in ("q", "a")]
    assert [(m["content"], m.get("message_id")) for m in flat] == [("q", None)]


@checks("stream.done")
def completed(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    # The row says something else: the published stream looks at how the workflow closed.
    row = {"status": "failed"} if plane.published else {}
    plane.call("PATCH", f"/executions/{execution_id}", {"response": "The end.", "usage": {"total_tokens": 7}, **row})
    usage = {"state": {**END["state"], "usage": {"total_tokens": 7}}, "end": "complete"}  # type: ignore[dict-item]
    plane.say(execution_id, usage)
    if not plane.published:
        plane.call("PATCH", f"/executions/{execution_id}", {"status": "completed"})
    last = plane.seen(execution_id)[-1]
    assert last["event"] == "done"
    about = {"execution_id": execution_id, "status": "completed", "response": "The end."}
    assert about.items() <= last["data"].items() and last["data"]["usage"]["total_tokens"] == 7


@checks("stream.failed")
def failed(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    plane.call("PATCH", f"/executions/{execution_id}", {"status": "running"})
    state = {"status": "failed", "error_message": "The model is gone", "metadata": {"error_type": "outage"}}
    plane.call(
        "POST", f"/executions/{execution_id}/message", {"message": json.dumps({"state": state, "end": "fail"})}, 202
    )
    plane.call("PATCH", f"/executions/{execution_id}", {"status": "failed", "error_message": "The model is gone"})
    last = plane.seen(execution_id)[-1]
    assert last["event"] in TERMINAL, last
    assert (last["data"]["status"], last["data"]["error"]) == ("failed", "The model is gone"), last
    if plane.published:
        assert (last["event"], last["data"]["error_type"]) == ("error", "outage")


@checks("stream.cancelled")
def cancelled(plane: PlaneUnderTest) -> None:
    plane.short()
    execution_id = plane.run()
    plane.call("PATCH", f"/executions/{execution_id}", {"status": "running"})
    assert plane.call("POST", f"/executions/{execution_id}/cancel")["success"] is True
    events = plane.seen(execution_id)
    ends = [e["data"]["status"] for e in events if e["event"] in TERMINAL]
    # Nobody is told of a success. The published stream ends with its longest time, ours says how it ended.
    assert ends == ([] if plane.published else ["cancelled"]), ends
    assert "cancelled" in [data["status"] for data in kinds(events, "status")]
    assert plane.get(execution_id)["status"] == "cancelled"


@checks("stream.row")
def without_a_worker(plane: PlaneUnderTest) -> None:
    body = {"name": f"q{uuid.uuid4().hex[:12]}"}
    queue = plane.call("POST", "/environments/default/worker-queues", body, 201)["id"]
    execution_id = plane.run(worker_queue_id=queue)
    fields = {"status": "completed", "response": "The end.", "usage": {"total_tokens": 7}}
    plane.call("PATCH", f"/executions/{execution_id}", fields)
    with plane.hasty():
        events = plane.seen(execution_id)
    assert events[-1]["event"] == "done" and events[-1]["data"]["response"] == "The end.", events
    if plane.published:
        assert [d["reason"] for d in kinds(events, "degraded")] == ["worker_unavailable"]


@checks("stream.no-replay")
def of_a_closed_run(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    key = f"{execution_id}_assistant_1"
    plane.event(execution_id, "message_chunk", role="assistant", content="All", message_id=key, is_chunk=True)
    plane.event(execution_id, "tool_started", tool_name="shell", tool_execution_id="c1", tool_arguments={})
    plane.say_as_worker(execution_id, said("assistant", "All is well.", key))
    _finish(plane, execution_id)
    assert plane.seen(execution_id)[-1]["event"] in TERMINAL
    events = plane.seen(execution_id)
    names = [event["event"] for event in events]
    assert [m["content"] for m in kinds(events, "message") if m["message_id"] == key] == ["All is well."]
    assert names[-1] in TERMINAL
    if plane.published:
        assert names == ["message", "history_complete", "done"]
