"""The age of events is measured when they are sent, and while they cannot be sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.protocol import events as ev


def _event(seconds: float) -> ev.Event:
    return ev.event("e", ev.NOTICE, {}, (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat())


@pytest.mark.parametrize("away", [False, True])
def test_the_lag_is_that_of_the_oldest_event_sent_or_not(away: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: Any, **__: Any) -> None:
        if away:
            raise errors.Unreachable("away")

    plane = ControlPlane("http://127.0.0.1:9", "kby_x")
    monkeypatch.setattr(plane._answers, "call", call)
    assert plane.event_lag == 0
    if away:
        with pytest.raises(errors.Unreachable):
            plane.publish("x", [_event(30), _event(5)])
    else:
        plane.publish("x", [_event(30), _event(5)])
    assert 30 <= plane.event_lag < 90
    plane.close()


def test_a_time_that_is_none_or_ahead_is_no_lag() -> None:
    assert [ev.age({"timestamp": text}) for text in ("", "x", None, "2999-01-01T00:00:00+00:00", "2026-01-01")] == [
        0
    ] * 5
