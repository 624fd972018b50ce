"""Make the supervisor's log lines: `2026-11-23T10:00:00.000000Z info supervisor.started name=worker pid=41`. UTC."""

from __future__ import annotations

import time


def utc(at: float | None = None) -> str:
    """Format a `time.time()` value (default: now) as ISO-8601 in UTC with microseconds."""
    at = time.time() if at is None else at
    micros = int(at * 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(micros // 1_000_000)) + f".{micros % 1_000_000:06d}Z"


def line(level: str, event: str, **fields: object) -> bytes:
    """Return one log line with its line end. Fields that are None are left out; a float is a time in seconds.

    `seconds` stands at the end, as in the lines of a worker: `in 0.84s`.
    """
    took = fields.pop("seconds", None)
    pairs = "".join(f" {name}={_quoted(value)}" for name, value in fields.items() if value is not None)
    end = "" if took is None else f" in {took:.2f}s"
    return f"{utc()} {level} {event}{pairs}{end}\n".encode(errors="replace")


def _quoted(value: object) -> str:
    text = f"{value:.3f}s" if isinstance(value, float) else str(value)
    if text and not any(character in text for character in ' "=\n'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
