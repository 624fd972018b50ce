"""This module decides when another of an agent's models replaces one that fails, and which models rest. Pure.

An agent's `fallback_models` are asked in their order:

    at once         a used-up account, a refused key, an unknown model, an address that has moved
    after a while   outages, limits and silence: at the third error, or when the wait is longer than half a minute;
                    unusable answers: when the model's tries are over
    if it is larger the conversation is too long, and the other model is known to have a larger window
    never           a refusal to answer, or a wrong request: another model would get the same
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from kubiya_worker.models import base
from kubiya_worker.models.base import ModelError

PATIENCE: Final = 3  # errors of a model in a row before another one is asked
LONGEST_WAIT: Final = 30.0  # seconds
REST: Final = 60.0  # seconds for which a model that was away or busy is not asked first again
LONG_REST: Final = 600.0  # the same for an error that only a person can correct

_AT_ONCE: Final = frozenset({base.QUOTA, base.AUTH, base.UNKNOWN_MODEL, base.MOVED})
_AFTER: Final = frozenset({base.RATE_LIMITED, base.UNAVAILABLE, base.SILENT, base.CUT_STREAM, base.BAD_ANSWER})


def gives_way(error: ModelError, failed: int, *, again: bool) -> bool:
    """Return whether the next model is asked.

    `failed` counts errors in a row, `again` says that this model has tries left.
    """
    if error.kind in _AT_ONCE:
        return True
    if error.kind in _AFTER:
        return not again or failed >= PATIENCE or (error.retry_after or 0.0) > LONGEST_WAIT
    return False


class Resting:
    """Remember the models that have just failed, in memory: a new call begins with one that has not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def rest(self, model: str, error: ModelError) -> None:
        """Let a model rest after an error for which another model was asked."""
        seconds = LONG_REST if error.kind in _AT_ONCE else min(LONG_REST, max(REST, error.retry_after or 0.0))
        self._until[model] = self._clock() + seconds

    def first(self, models: Sequence[str]) -> int:
        """Return the index of the first model that does not rest; 0 when all of them do."""
        now = self._clock()
        self._until = {model: until for model, until in self._until.items() if until > now}
        return next((place for place, model in enumerate(models) if model not in self._until), 0)
