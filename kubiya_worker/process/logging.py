"""Logs are events: one line each, UTC, `time level event key=value …`; or one JSON object each.

structlog renders; the standard library's loggers (temporalio's, ours in activities) come out in the same form. Values
that are known secrets are replaced in every line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

QUIET = ("temporalio", "urllib3", "httpx", "openai", "asyncio")  # their INFO is not about what an operator runs


def configure(level: str, form: str, secrets: Sequence[str]) -> None:
    """Route everything to stdout. `form` is text, pretty or json."""
    hide = _hider(secrets)
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = structlog.processors.JSONRenderer() if form == "json" else _line
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, hide, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _hider(secrets: Sequence[str]) -> Any:
    hidden = sorted((s for s in secrets if len(s) >= 6), key=len, reverse=True)

    def hide(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            text = value if isinstance(value, str) else None
            if text is None and not isinstance(value, int | float | bool | None):
                text = str(value)
            if text is not None and any(secret in text for secret in hidden):
                for secret in hidden:
                    text = text.replace(secret, "[redacted]")
                event[key] = text
        return event

    return hide


def _line(_: WrappedLogger, __: str, event: EventDict) -> str:
    """`2026-11-23T10:00:00.000000Z info worker.ready queue=q1 in 0.84s`"""
    time, level = event.pop("timestamp", ""), event.pop("level", "info")
    name, trace = event.pop("event", ""), event.pop("exception", None)
    seconds = event.pop("seconds", None)
    pairs = " ".join(f"{key}={_quoted(value)}" for key, value in event.items())
    text = " ".join(part for part in (str(time), str(level), str(name).replace("\n", "\\n"), pairs) if part)
    if seconds is not None:
        text += f" in {seconds:.2f}s"
    return f"{text}\n{trace}" if trace else text


def _quoted(value: Any) -> str:
    text = str(value).replace("\n", "\\n")
    return f'"{text}"' if " " in text or not text else text
