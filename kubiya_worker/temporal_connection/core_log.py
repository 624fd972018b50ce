"""This module sends the lines of the SDK's core, which is no Python, to a logger, and lets each come once in a while.

Without it the core writes to standard output itself, in colours. While Temporal is away it tells each try of each call:
a hundred lines a minute, in which nobody finds the one that says what is wrong.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from temporalio.runtime import LoggingConfig

CORE: Final = "temporalio.core"
AGAIN: Final = 600.0  # seconds until a line comes again that differs in figures at most
MOST: Final = 200  # different lines that are remembered
_OPAQUE: Final = "task_token"  # a field that only Temporal can read
_FIGURES: Final = re.compile(r"\d+")


class Seldom(logging.Filter):
    """Let a line pass once in AGAIN seconds, with `repeated`: how often it came meanwhile. At DEBUG all pass."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[str, str], tuple[float, int]] = {}  # when, and how often since

    def filter(self, record: logging.LogRecord) -> bool:
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        entry = getattr(record, "temporal_log", None)
        key = (str(getattr(entry, "target", "")), _FIGURES.sub("", record.getMessage()))
        now = self._clock()
        at, more = self._told.get(key, (now - AGAIN, 0))
        if now - at < AGAIN:
            self._told[key] = (at, more + 1)
            return False
        if len(self._told) >= MOST:
            self._told.clear()
        self._told[key] = (now, 0)
        record.repeated = more or None
        return True


def fields_of(record: logging.LogRecord | None) -> dict[str, Any]:
    """Return the fields of a line of the core, and how often it came; empty for any other line."""
    fields = getattr(getattr(record, "temporal_log", None), "fields", None)
    if not isinstance(fields, Mapping):
        return {}
    repeated = getattr(record, "repeated", None)
    known = {str(name): value for name, value in fields.items() if name != _OPAQUE}
    return {**known, "repeated": repeated} if repeated else known


def config() -> LoggingConfig:
    """Return what makes a runtime of the SDK send its core's lines to the logger `CORE`."""
    from temporalio.runtime import LogForwardingConfig, LoggingConfig, TelemetryFilter

    logger = logging.getLogger(CORE)
    if not any(isinstance(one, Seldom) for one in logger.filters):
        logger.addFilter(Seldom())
    forwarding = LogForwardingConfig(
        logger=logger,
        append_target_to_name=False,
        prepend_target_on_message=False,
        append_log_fields_to_message=False,  # `fields_of` has them
    )
    return LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)
