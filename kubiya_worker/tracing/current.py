"""The step that is traced now: tools, models and logs learn its ids from here. Without tracing there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from kubiya_worker.tracing.ids import TRACEPARENT, TurnTrace

MARK: Final = "trace"  # the key in the details of a heartbeat


class Step:
    """A step at work: its span's id, and `find`, which returns the trace once the execution's context is known.

    `to_models` says that models are told of the trace.
    """

    def __init__(self, span: int, find: Callable[[], TurnTrace | None], worker: str, *, to_models: bool) -> None:
        self.span, self.find, self.worker, self.to_models = span, find, worker, to_models
        self.began = time.time()

    def traceparent(self) -> str:
        trace = self.find()
        return trace.traceparent(self.span) if trace else ""


STEP: ContextVar[Step | None] = ContextVar("traced_step", default=None)
_NOTES: ContextVar[dict[str, Any] | None] = ContextVar("notes_of_step", default=None)


def traceparent() -> str:
    """Return the W3C `traceparent` of this step for what it calls; empty without tracing."""
    step = STEP.get()
    return step.traceparent() if step else ""


def variables() -> dict[str, str]:
    """Return what a tool's program gets in its environment."""
    value = traceparent()
    return {"TRACEPARENT": value} if value else {}


def carrier() -> dict[str, Any]:
    """Return what another system gets, where it reads a `traceparent`: in MCP's `_meta`, in an execution's metadata."""
    value = traceparent()
    return {TRACEPARENT: value} if value else {}


def model_headers() -> dict[str, str]:
    """Return the headers that the endpoint of a model gets; none unless a setting says so."""
    step = STEP.get()
    value = step.traceparent() if step and step.to_models else ""
    return {TRACEPARENT: value} if value else {}


def log_fields() -> dict[str, str]:
    """Return the ids by which a line of the log is found from its trace."""
    step = STEP.get()
    trace = step.find() if step else None
    return {"trace_id": f"{trace.trace_id:032x}", "span_id": f"{step.span:016x}"} if step and trace else {}


def notes() -> dict[str, Any]:
    """Return the attributes that only the code within this step knows, to which `note` adds from now on."""
    noted = _NOTES.get()
    if noted is None:
        noted = {}
        _NOTES.set(noted)
    return noted


def note(name: str, value: str | int | float) -> None:
    """Add an attribute to the span of this step, where somebody asks for it."""
    noted = _NOTES.get()
    if noted is not None:
        noted[name] = value


def mark(*, ended: bool = False) -> tuple[dict[str, Any], ...]:
    """Return what a heartbeat tells of this attempt, so that the next one can show it should its worker be lost."""
    step = STEP.get()
    if step is None:
        return ()
    mark = {"began": step.began, "seen": time.time(), "worker": step.worker, "ended": ended}
    return ({MARK: mark},)
