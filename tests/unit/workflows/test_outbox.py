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
