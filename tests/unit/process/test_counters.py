"""These tests say what counts as a taken slot, and when model calls would wait behind tools."""

from __future__ import annotations

from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.protocol import names


def test_model_calls_would_wait_only_where_tools_hold_slots() -> None:
    counters = ActivityCounters()
    assert not counters.crowded(2)
    counters.begin(b"1", "w/call_model", holds=names.CALL_MODEL)
    counters.begin(b"2", "w/compact", holds=names.COMPACT)
    assert counters.slots_taken() == 2
    assert not counters.crowded(2)  # these are model calls themselves
    counters.end(b"2", failed=False)
    counters.begin(b"3", "w/call_tool", holds=names.CALL_TOOL)
    assert counters.crowded(2)
    assert not counters.crowded(3)
    counters.begin(b"4", "w/begin_execution")  # a local one, or one in the slots for model calls
    assert (counters.slots_taken(), counters.counts().active) == (2, 3)
    counters.end(b"3", failed=None)
    assert not counters.crowded(2)
