"""Notices that an execution pays for a prompt cache which it never reads."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from kubiya_worker.models.caching import LEAST_TOKENS
from kubiya_worker.protocol.execution import Usage

STEPS: Final = 5  # model calls without a read after which it is told
KEPT: Final = 256  # executions that are remembered

TEXT: Final = (
    "Five model calls were marked for the prompt cache, and none has read from it: all input is paid at full price. "
    "The endpoint may drop the marks, the beginning of the requests may be shorter than the model keeps (up to 4,096 "
    'tokens), or more time lies between two calls than it keeps it. `"caching": "off"` in the agent\'s model_config '
    'stops the marks, "1h" keeps the beginning for longer.'
)


class CacheWatch:
    """The watch counts the long, marked calls of each execution until one of them reads from the cache."""

    def __init__(self) -> None:
        self._unread: OrderedDict[str, int | None] = OrderedDict()  # None: it has read, or it was told

    def note(self, execution_id: str, usage: Usage) -> bool:
        """Note a call. Return True once for an execution: at the STEPS-th call whose marks brought no cache read."""
        unread = self._unread.get(execution_id, 0)
        self._unread[execution_id] = unread
        self._unread.move_to_end(execution_id)
        while len(self._unread) > KEPT:
            self._unread.popitem(last=False)
        if unread is None:
            return False
        if usage.cache_read_tokens:
            self._unread[execution_id] = None
        elif usage.input_tokens >= LEAST_TOKENS:
            self._unread[execution_id] = unread + 1 if unread + 1 < STEPS else None
            return unread + 1 == STEPS
        return False

    def forget(self, execution_id: str) -> None:
        """Drop what is kept of an execution that is over."""
        self._unread.pop(execution_id, None)
