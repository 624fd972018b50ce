"""This module decides which events of a request may be stored now.

Steps of one execution run on several hosts, and while the control plane is away each host keeps its events. So an event
can name others (`after`) that must be stored before it. Events on a host that never comes back would block their
successors for ever; so after PATIENCE seconds of asking, these are stored without them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set
from typing import Any, Final

from kubiya_worker.event_log import EventLogger

log = EventLogger(__name__)

PATIENCE: Final = 60.0  # seconds since a missing event was first asked for
REMEMBERED: Final = 10_000  # missing events that are remembered


class Precedence:
    """Order events by their `after`; `known(execution_id, ids)` returns the stored ids.

    The times are in memory: a restart grants the whole time again.
    """

    def __init__(
        self, known: Callable[[str, Sequence[str]], Set[str]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._known, self._clock = known, clock
        self._asked: OrderedDict[tuple[str, str], float] = OrderedDict()

    def ready(self, execution_id: str, events: Sequence[dict[str, Any]]) -> int:
        """Return how many of the events, from the first, may be stored now."""
        wanted = [str(event_id) for event in events for event_id in event.get("after") or ()]
        if not wanted:
            return len(events)
        known = set(self._known(execution_id, wanted))
        for number, event in enumerate(events):
            for before in map(str, event.get("after") or ()):
                if before in known:
                    self._asked.pop((execution_id, before), None)
                elif self._waits(execution_id, before):
                    return number
            if event.get("event_id") is not None:
                known.add(event["event_id"])
        return len(events)

    def _waits(self, execution_id: str, before: str) -> bool:
        now = self._clock()
        since = self._asked.setdefault((execution_id, before), now)
        while len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)
        if now - since < PATIENCE:
            return True
        log.warning("events.out_of_order", execution_id=execution_id, missing=before)
        return False
