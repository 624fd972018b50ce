"""This module writes events as log lines, `event key=value …`, for the parts that log without structlog.

The control plane has no structlog, whose import takes longer than everything else that it loads for its log. Its lines
have the form of the worker's and of the supervisor's, so that one search finds what happened in all three.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

AGAIN: Final = 600.0  # seconds until the same fault of a loop is logged again
MOST: Final = 200  # different faults that are remembered
DEEP: Final = 6  # calls that are told of an exception, the innermost first
OURS: Final = "/kubiya_worker/"
_UNQUOTED: Final = re.compile(r"[^\s\"'=]+")  # a value that needs no quotes
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quoted(value: Any) -> str:
    """Return a value as it stands behind `key=`: in quotes where it would otherwise look like several."""
    text = str(value)
    if _UNQUOTED.fullmatch(text):
        return visible(text)
    return '"' + visible(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def visible(text: str) -> str:
    """Return the text without characters that would break the line or move a terminal's cursor."""
    return _UNSEEN.sub(lambda m: _ESCAPES.get(m[0]) or f"\\x{ord(m[0]):02x}", text)


def line(event: str, fields: dict[str, Any]) -> str:
    """Return an event and its fields as text; `seconds` stands at the end, with its unit, as `in 0.84s`."""
    seconds = fields.pop("seconds", None)
    text = " ".join([visible(event), *(f"{key}={quoted(value)}" for key, value in fields.items())])
    return text if seconds is None else f"{text} in {seconds:.2f}s"


def place_of(stack: traceback.StackSummary) -> str:
    """Return the innermost call of a stack, and those of this package that led to it: `file:line name < …`."""
    calls = stack[::-1]
    shown = [call for number, call in enumerate(calls) if not number or OURS in call.filename]
    return " < ".join(f"{'/'.join(call.filename.split('/')[-2:])}:{call.lineno} {call.name}" for call in shown[:DEEP])


def fields_of(error: BaseException) -> dict[str, str]:
    """Return what a log line tells of an exception: its type, its text and its place."""
    text = str(error)
    return {
        "error": f"{type(error).__name__}: {text}" if text else type(error).__name__,
        "place": place_of(traceback.extract_tb(error.__traceback__)),
    }


class EventLogger:
    """A logger whose methods take the event's name and its fields. Fields that are None are left out."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._clock = logging.getLogger(name), clock
        self._told: dict[str, tuple[float, int]] = {}  # when a text was logged last, and how often it came since

    def debug(self, event: str, **fields: Any) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._log(logging.ERROR, event, fields)

    def recurring(self, event: str, **fields: Any) -> None:
        """Log a warning about what a loop meets at each turn: once in `AGAIN` seconds for each text."""
        self._log_once(logging.WARNING, event, fields)

    def fault(self, event: str, error: BaseException, **fields: Any) -> None:
        """Log an exception that nobody has foreseen, in one line: what it is, and where in the code it began.

        A loop that meets it at each turn logs it once in `AGAIN` seconds, with how often it came meanwhile.
        """
        self._log_once(logging.ERROR, event, {**fields, **fields_of(error)})

    def _log(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            known = {key: value for key, value in fields.items() if value is not None}
            self._logger.log(level, "%s", line(event, known))

    def _log_once(self, level: int, event: str, fields: dict[str, Any]) -> None:
        now, text = self._clock(), line(event, dict(fields))
        at, more = self._told.get(text, (now - AGAIN, 0))
        if now - at < AGAIN:
            self._told[text] = (at, more + 1)
            return
        if len(self._told) >= MOST:
            self._told.clear()
        self._told[text] = (now, 0)
        self._log(level, event, {**fields, "repeated": more or None})
