"""When another of an agent's models is asked in place of one that fails, and which of them rest. Pure.

An agent's `fallback_models` are asked in their order:

    at once         a used-up account, a refused key, an unknown model, an address that has moved
    after a while   outages, limits and silence: at the third fault, or when the wait is longer than half a minute;
                    answers that are none: when the model's tries are over
    if it is larger the conversation is too long, and the other model is known to have a larger window
    never           a refusal to answer, and a request that is wrong: another model would get the same
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from kubiya_worker.models import base
from kubiya_worker.models.base import ModelError

PATIENCE: Final = 3  # faults of a model in a row, while another one could answer
LONGEST_WAIT: Final = 30.0  # seconds
REST: Final = 60.0  # seconds for which a model that was away or busy is not asked first again
LONG_REST: Final = 600.0  # where only a person can mend it

_AT_ONCE: Final = frozenset({base.QUOTA, base.AUTH, base.UNKNOWN_MODEL, base.MOVED})
_AFTER: Final = frozenset({base.RATE_LIMITED, base.UNAVAILABLE, base.SILENT, base.CUT_STREAM, base.BAD_ANSWER})


def gives_way(error: ModelError, failed: int, *, again: bool) -> bool:
    """Return whether the next model is asked. `failed` are this one's faults in a row, `again`: it has tries left."""
    if error.kind in _AT_ONCE:
        return True
    if error.kind in _AFTER:
        return not again or failed >= PATIENCE or (error.retry_after or 0.0) > LONGEST_WAIT
    return False


class Resting:
    """The models that have just failed, in this worker's memory: a new call begins with one that has not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def rest(self, model: str, error: ModelError) -> None:
        """Have a model rest after a fault for which another one was asked."""
        seconds = LONG_REST if error.kind in _AT_ONCE else min(LONG_REST, max(REST, error.retry_after or 0.0))
        self._until[model] = self._clock() + seconds

    def first(self, models: Sequence[str]) -> int:
        """Return the place of the first model that does not rest; 0 when all of them do."""
        now = self._clock()
        self._until = {model: until for model, until in self._until.items() if until > now}
        return next((place for place, model in enumerate(models) if model not in self._until), 0)
