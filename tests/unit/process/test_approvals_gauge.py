"""The gauge of approvals that wait: what the control plane says, and nothing while it says nothing."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.process import approvals_gauge
from kubiya_worker.process.approvals_gauge import ApprovalsGauge
from tests.support.scripted_plane import Reply, ScriptedPlane, Seen


class Plane(ScriptedPlane):
    """Answers `/worker-queues/q/metrics` with each reply in turn, the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__()
        self.replies = list(replies)

    def take(self, seen: Seen) -> Reply:
        assert seen.path == "/api/v1/worker-queues/q/metrics", seen.path
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(approvals_gauge, "EVERY", 0.01)
    monkeypatch.setattr(approvals_gauge, "SELDOM", 0.01)
    opened: list[Any] = []

    def begin(*replies: Reply) -> queue.Queue[int | None]:
        plane = Plane(*replies).__enter__()
        client = ControlPlane(plane.url, "kby_x")
        numbers: queue.Queue[int | None] = queue.Queue()
        opened.extend((ApprovalsGauge(client.queues, "q", numbers.put), client, plane))
        return numbers

    yield begin
    asking, client, plane = opened
    asking.close()
    client.close()
    plane.__exit__(None, None, None)


def test_it_follows_the_control_plane(told: Any) -> None:
    numbers = told(*(Reply(200, {"approvals_waiting": n}) for n in (2, 3, 0)))
    assert [numbers.get(timeout=30) for _ in range(3)] == [2, 3, 0]


def test_nothing_is_told_while_the_control_plane_fails_and_it_goes_on(told: Any) -> None:
    numbers = told(Reply(200, {"approvals_waiting": 2}), Reply(503), Reply(404), Reply(200, {"approvals_waiting": 1}))
    assert [numbers.get(timeout=30) for _ in range(4)] == [2, None, None, 1]


def test_a_control_plane_that_does_not_count_them(told: Any) -> None:
    numbers = told(Reply(200, {"queue_id": "q"}), Reply(200, []), Reply(200, {"approvals_waiting": "many"}))
    assert [numbers.get(timeout=30) for _ in range(3)] == [None, None, None]
