"""Text as it comes, joined for a stream on which each event is dear."""

from __future__ import annotations

from kubiya_worker.activities.pacing import EventPacing
from kubiya_worker.protocol import events as ev


def chunk(number: int) -> ev.Event:
    return ev.event(f"c:{number}", ev.MESSAGE_CHUNK, {"message_id": "m", "content": f"{number} "})


def sent(pieces: int, seconds: float, every: float = 0.05) -> list[ev.Event]:
    """Chunks of an answer that takes so long, and its complete message."""
    now = 0.0
    pace, queue, out = EventPacing(pieces, 0, clock=lambda: now), list[ev.Event](), list[ev.Event]()
    for number in range(int(seconds / every)):
        now += every
        event = chunk(number)
        queue += [event] if pace.wants(event) else []
        if queue and pace.wait(queue) <= 0:
            out, queue = [*out, *pace.take(queue)], []
    return [*out, *pace.take([*queue, ev.event("m", ev.MESSAGE, {"message_id": "m", "content": "all"})])]


def test_an_answer_of_any_length_has_no_more_chunks_than_it_may() -> None:
    for pieces in (1, 2, 10, 60):
        for seconds in (0.1, 1.0, 60.0, 3_600.0):
            pause = max(0.05, seconds / 600)  # between two looks, each of which reads all that waits
            kinds = [event["event_type"] for event in sent(pieces, seconds, pause)]
            assert kinds.count(ev.MESSAGE_CHUNK) <= pieces and kinds[-1] == ev.MESSAGE


def test_chunks_make_up_the_whole_text() -> None:
    for pieces in (1, 7, 60):
        text = "".join(e["data"]["content"] for e in sent(pieces, 30.0) if e["event_type"] == ev.MESSAGE_CHUNK)
        assert text == "".join(f"{number} " for number in range(600))


def test_without_chunks_the_message_tells_all() -> None:
    assert [event["event_type"] for event in sent(0, 10.0)] == [ev.MESSAGE]
