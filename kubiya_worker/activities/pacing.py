"""The pace of text on a stream that shows only a limited number of events (protocol/event_limit.py).

An answer gets a fixed number of chunks, however long it takes: the first are sent at once, and each later one waits
longer than the one before. The rest of the text goes in a last chunk, before the complete message, so that a client
that only reads chunks gets the whole text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from kubiya_worker.protocol import event_limit
from kubiya_worker.protocol import events as ev

FIRST: Final = 0.1  # seconds in which the first text is joined
LONGEST: Final = 600.0  # seconds of an answer over which its chunks are spread
THOUGHTS: Final = 10  # chunks that are left for text before thoughts are left out
THINKING: Final = frozenset({ev.THINKING_START, ev.THINKING_DELTA, ev.THINKING_COMPLETE})
TEXT: Final = frozenset({ev.MESSAGE_CHUNK, *THINKING})


class EventPacing:
    """The pace of one step. `pieces` is the number of chunks it may send; for `sparing` see protocol/event_limit.py."""

    def __init__(self, pieces: int, sparing: int, clock: Callable[[], float] = monotonic) -> None:
        self.left, self.sparing, self._clock = pieces, sparing, clock
        self._began: float | None = None
        self._times = 0
        steps = max(1, pieces - 1)
        self._factor = (LONGEST / FIRST) ** (1 / steps)
        self.count = 0  # events that went out, or are kept to go out
        self.texts = 0  # chunks among them

    def wants(self, event: ev.Event) -> bool:
        """Return True when the event is to be sent at all."""
        if event["event_type"] in THINKING:
            return self.left > THOUGHTS
        if event["event_type"] == ev.MESSAGE_CHUNK:
            return self.left > 0
        return event_limit.is_sent(event, self.sparing)

    def wait(self, queue: Sequence[ev.Event]) -> float:
        """Return the seconds for which the queue may gather more text."""
        if any(event["event_type"] not in TEXT for event in queue):
            return 0.0
        now = self._clock()
        if self._began is None:
            self._began = now
        if self.left <= 1:
            return LONGEST  # the last one is sent with the complete message
        return self._began + self._due() - now

    def _due(self) -> float:
        """Return the seconds from the first text to the next time at which text is sent."""
        return FIRST * float(self._factor**self._times)

    def take(self, queue: list[ev.Event]) -> list[ev.Event]:
        """Return the events to send now, joined and counted."""
        batch: list[ev.Event] = []
        for event in joined(queue):
            if event["event_type"] in TEXT:
                if self.left <= (0 if event["event_type"] == ev.MESSAGE_CHUNK else 1):
                    continue
                self.left -= 1
                self.texts += 1
            batch.append(event)
        now = self._clock()
        while self._began is not None and self._began + self._due() <= now and self._due() <= LONGEST:
            self._times += 1
        self.count += len(batch)
        return batch


def joined(events: Sequence[ev.Event]) -> list[ev.Event]:
    """Join neighbouring chunks of a message, and neighbouring pieces of a thought, whatever their size."""
    joined_events: list[ev.Event] = []
    for event in events:
        last = joined_events[-1] if joined_events else None
        kind, data = event["event_type"], event["data"]
        key = {ev.MESSAGE_CHUNK: "content", ev.THINKING_DELTA: "thinking"}.get(kind)
        same = ("message_id", "index")
        if (
            key is not None
            and last is not None
            and last["event_type"] == kind
            and all(last["data"].get(name) == data.get(name) for name in same)
        ):
            more = {key: last["data"][key] + data[key]}
            if kind == ev.MESSAGE_CHUNK:
                size = int(last["data"].get("batch_info", {}).get("batch_size", 1)) + 1
                more["batch_info"] = {"is_batched": True, "batch_size": size}
            joined_events[-1] = {**last, "data": {**last["data"], **more}}
        else:
            joined_events.append(event)
    return joined_events
