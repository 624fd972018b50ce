"""The worker's cache of conversations stays within its limit."""

from __future__ import annotations

from kubiya_worker.activities.transcripts import Transcripts
from kubiya_worker.protocol import messages as m


def message(number: int, size: int) -> m.Message:
    return {"role": "tool", "content": "x" * size, "message_id": f"m{number}", "timestamp": "t"}


def test_messages_left_for_a_call_that_another_worker_makes_count() -> None:
    kept = Transcripts(limit_bytes=100_000)
    for number in range(50):
        kept.leave(f"execution-{number}", message(number, 10_000))
    assert len(kept) < 11
    assert kept.find("execution-49", "m49") is not None
    assert kept.find("execution-0", "m0") is None


def test_a_message_that_joins_the_conversation_is_counted_once() -> None:
    kept = Transcripts(limit_bytes=25_000)
    kept.leave("e1", message(1, 10_000))
    kept.leave("e1", message(1, 10_000))
    digest = m.digest_of([message(1, 10_000)])
    assert kept.assemble("e1", 0, [{"ref": "m1"}], digest) == [message(1, 10_000)]
    kept.leave("e2", message(2, 10_000))
    assert len(kept) == 2
