"""The order of an execution's events, where some wait on a worker's disk."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.protocol import calls, event_limit, events
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.outbox import EventOutbox
from kubiya_worker.workflows.run import Run

MEMBER: dict[str, Any] = {
    "stream": "e-1",
    "name": "ada",
    "path": ["team", "ada"],
    "parent_message_id": "m-1",
    "parent_tool_execution_id": "t-1",
    "leader": "w-1",
    "root": "w-1",
    "behind": ["x-0"],
    "room": 40,
}


def started(*, published: bool = False, **member: Any) -> EventOutbox:
    run = Run()
    run.start({"execution_id": "e-1.1", "agent_id": "a", "organization_id": "o", "prompt": "p", "member": member})
    run.context = calls.Context("a", published=published)
    outbox = EventOutbox(run)
    outbox.start()
    return outbox


def notice(name: str) -> events.Event:
    return events.event(name, events.NOTICE, {"message": name}, "t")


def test_what_is_kept_follows_what_waits_on_a_disk() -> None:
    outbox = started()
    request = calls.ToolInput("e-1.1", "c", "run", message_id="m", step=1, behind=outbox.predecessors())
    outbox.settle(request, calls.ToolOutcome(spooled=["s-1"], undelivered=[notice("n-1")], events=3))
    outbox.keep(notice("n-2"))
    assert outbox.take_all()[-1]["after"] == ["s-1"]
    assert outbox.sent == 4
    assert not outbox


def test_a_later_step_that_was_sent_releases_what_it_followed() -> None:
    outbox = started()
    first = calls.ToolInput("e-1.1", "c", "run", message_id="m", step=1)
    outbox.settle(first, calls.ToolOutcome(spooled=["s-1"]))
    second = calls.ToolInput("e-1.1", "d", "run", message_id="m", step=2, behind=outbox.predecessors())
    outbox.settle(second, calls.ToolOutcome(spooled=[]))
    assert outbox.predecessors() == []


def left(outbox: EventOutbox, name: str) -> calls.ModelResult:
    """Settle a step that ends with one event on its way, and return its result."""
    result = calls.ModelResult({"role": "assistant"}, {}, "stop", "m", "p", spooled=[name], unconfirmed=[notice(name)])
    request = calls.ToolInput("e-1.1", "c", "run", message_id="m", step=1, behind=outbox.predecessors())
    outbox.settle(request, result)
    return result


def test_what_a_step_left_behind_is_kept_until_a_later_step_knows_that_it_arrived() -> None:
    outbox = started()
    left(outbox, "n-1")
    assert (outbox.predecessors(), list(outbox.unconfirmed)) == (["n-1"], ["n-1"])
    left(outbox, "n-2")
    assert (outbox.predecessors(), outbox.unconfirmed) == (["n-2"], {"n-2": [notice("n-2")]})
    on_disk = calls.ToolInput("e-1.1", "c", "run", message_id="m", step=3, behind=outbox.predecessors())
    outbox.settle(on_disk, calls.ToolOutcome(spooled=["s-3"]))
    assert (outbox.predecessors(), list(outbox.unconfirmed)) == (["s-3"], ["n-2"])
    assert not outbox  # it is nothing that has to be published before a step


def test_tools_at_the_same_time_each_leave_their_own() -> None:
    outbox = started()
    left(outbox, "n-1")
    requests = [
        calls.ToolInput("e-1.1", call, "run", message_id="m", step=1, behind=outbox.predecessors()) for call in "ab"
    ]
    for request, name in zip(requests, ("n-a", "n-b"), strict=True):
        outbox.settle(request, calls.ToolOutcome(message={}, spooled=[name], unconfirmed=[notice(name)]))
    assert (outbox.predecessors(), list(outbox.unconfirmed)) == (["n-a", "n-b"], ["n-a", "n-b"])
    outbox.arrived(["n-a"])
    assert (outbox.predecessors(), list(outbox.unconfirmed)) == (["n-b"], ["n-b"])


def test_what_waits_on_a_disk_is_not_forgotten_with_what_was_on_its_way() -> None:
    outbox = started()
    request = calls.ToolInput("e-1.1", "c", "run", message_id="m", step=1)
    outbox.settle(request, calls.ToolOutcome(spooled=["s-1"]))
    outbox.arrived(["s-1"])
    assert outbox.predecessors() == ["s-1"]


def test_the_next_run_has_what_was_left_behind() -> None:
    outbox, after = started(), started()
    left(outbox, "n-1")
    carried = Carried()
    outbox.carry(carried)
    after.restore(Carried.parse(carried.wire()))
    assert (after.predecessors(), after.unconfirmed) == (["n-1"], outbox.unconfirmed)


def test_a_members_events_follow_its_leaders_and_are_named_as_on_the_stream() -> None:
    outbox = started(**MEMBER)
    outbox.keep(notice("n-1"))
    assert outbox.predecessors() == ["x-0", "e-1.1:n-1"]


def test_a_published_stream_that_is_full_takes_no_notice() -> None:
    outbox = started(published=True)
    outbox.count(event_limit.LIMIT)
    outbox.keep(notice("n-1"))
    assert not outbox
    assert outbox.room(text=True) == {"pieces": 0, "sparing": 4}


@pytest.mark.parametrize(("carried", "behind"), [(None, ["x-0"]), ([], [])])
def test_a_run_of_0_1_0_did_not_carry_what_it_follows(carried: list[str] | None, behind: list[str]) -> None:
    outbox = started(**MEMBER)
    outbox.restore(Carried(behind=carried))
    assert outbox.behind == behind


def test_a_call_whose_worker_is_gone_is_told_once_in_whatever_run() -> None:
    outbox, saved = started(), Carried()
    outbox.keep_lost(calls.LostCall("shell", "call_0", "tool-call_0", "unknown", heartbeat=[{"trace": {"began": 1.0}}]))
    outbox.carry(saved)
    later = started()
    later.restore(Carried.parse(saved.wire()))
    assert later.take_lost() == outbox.take_lost() != []
    assert later.take_lost() == []
    later.carry(saved)
    assert "lost" not in saved.wire()
