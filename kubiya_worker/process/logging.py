"""This module writes logs as events: one line each, UTC, `time level event key=value …`, or one JSON object each.

structlog renders; lines of the standard library's loggers (temporalio, its core, our activities) have the same form.
Known secrets are replaced in every line. A traceback is one value like any other, so that an event stays one line;
only `pretty` writes it over several lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from kubiya_worker.event_log import quoted, visible
from kubiya_worker.process.sdk_lines import core_fields, failed_step
from kubiya_worker.tracing.current import log_fields

# INFO lines of these loggers are of no use to an operator.
QUIET = ("temporalio", "urllib3", "httpx", "httpx2", "asyncio")
ROOT: Final = ""
VERBOSE_FOR: Final = 600.0  # seconds at DEBUG after the last SIGUSR2
RECENT: Final = 100  # lines: what a control plane keeps of a worker (docs/protocol.md#a4)


class RecentLines(logging.Handler):
    """Keep the last logged lines that were not taken yet, for heartbeats."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=RECENT)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def take(self) -> list[str]:
        """Return the lines since the last call; safe from any thread."""
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        return lines


class LogOutput(logging.StreamHandler[TextIO]):
    """A log handler that survives a closed reader or a full disk: lines are lost then, and one message says so.

    The standard library would write a traceback for each such line, with its text before secrets were taken out.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._reported = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)  # another error is a bug in our code
        elif not self._reported:
            self._reported = True
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"kubiya worker: the log cannot be written ({error.strerror}); lines are lost\n")


def configure(level: str, form: str, redact: Callable[[str], str]) -> RecentLines:
    """Route all log lines to stdout; `form` is text, pretty or json, and `redact` removes secrets from a text."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        _traced,
        failed_step,
        core_fields,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    text = _pretty if form == "pretty" else _line
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False) if form == "json" else text
    output, recent = LogOutput(sys.stdout), RecentLines()
    for handler, render in ((output, renderer), (recent, _line)):
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=shared,
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _redacting(redact), render],
            )
        )
    logging.captureWarnings(True)  # otherwise a library's warning would be two lines in another form
    root = logging.getLogger()
    root.handlers = [output, recent]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return recent


def _redacting(redact: Callable[[str], str]) -> Any:
    def process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            if not isinstance(value, int | float | bool | None):
                text = value if isinstance(value, str) else str(value)
                redacted = redact(text)
                if redacted != text:
                    event[key] = redacted
        return event

    return process


def _traced(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the ids of the step that the line is about, while it is traced."""
    for name, value in log_fields().items():
        event.setdefault(name, value)
    return event


def _line(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Return an event as a line: `2026-11-23T10:00:00.000000Z info worker.ready queue=q1 in 0.84s`."""
    time, level = event.pop("timestamp", ""), event.pop("level", "info")
    name = event.pop("event", "")
    seconds = event.pop("seconds", None)
    pairs = " ".join(f"{key}={quoted(value)}" for key, value in event.items())
    text = " ".join(part for part in (str(time), str(level), visible(str(name)), pairs) if part)
    if seconds is not None:
        text += f" in {seconds:.2f}s"
    return text


def _pretty(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Return an event as a line, with a traceback below it over several lines."""
    trace = event.pop("exception", None)
    text = _line(logger, method, event)
    return f"{text}\n{trace}" if trace else text


log = structlog.get_logger()


class Verbosity:
    """Raise the log level to DEBUG for ten minutes after the last SIGUSR2, then restore it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float = VERBOSE_FOR) -> None:
        self._loop, self._seconds = loop, seconds
        self._levels: dict[str, int] = {}  # the original levels by logger, to restore later
        self._timer: asyncio.TimerHandle | None = None

    def install(self) -> None:
        self._loop.add_signal_handler(signal.SIGUSR2, self.up)

    def up(self) -> None:
        if not self._levels:
            for name in (ROOT, *QUIET):
                logger = logging.getLogger(name)
                self._levels[name] = logger.level
                logger.setLevel(logging.DEBUG)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._seconds, self._down)
        log.info("log.verbose", lasts=f"{self._seconds:g}s")

    def _down(self) -> None:
        log.info("log.level", level=logging.getLevelName(self._levels[ROOT]).lower())
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        self._levels, self._timer = {}, None
