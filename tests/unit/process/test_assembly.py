"""Check what the Temporal workers of a process are made of."""

from __future__ import annotations

import pytest

from kubiya_worker.process.assembly import polls_for


@pytest.mark.parametrize(("slots", "polls"), [(1, 2), (10, 2), (50, 2), (100, 4), (1000, 40)])
def test_polls_leave_slots_for_eager_starts(slots: int, polls: int) -> None:
    assert polls_for(slots) == polls
