"""This module writes the worker's metrics as Prometheus text; one table names them, and tests check docs against it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from kubiya_worker import __version__
from kubiya_worker.process import host
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.protocol import calls, names
from kubiya_worker.tracing import current
from kubiya_worker.tracing.measures import MEASURES, Measured, error_type, of_step

log = structlog.get_logger()

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"
PREFIX: Final = "kubiya_worker_"
SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True)
class Metric:
    """A metric of the table; `name` has no prefix, and `labels` are in order. `buckets` are those of a histogram."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS
    prefix: str = PREFIX

    @property
    def full(self) -> str:
        return self.prefix + self.name


METRICS: Final = (
    Metric("info", GAUGE, "Version, queue and id of this worker", ("version", "queue", "worker_id")),
    Metric("active_tasks", GAUGE, "Steps that run now"),
    Metric("completed_tasks_total", COUNTER, "Steps that ended well since the start"),
    Metric("failed_tasks_total", COUNTER, "Steps that failed since the start"),
    Metric("cpu_percent", GAUGE, "CPU of this process since the last scrape, in percent of one core"),
    Metric("memory_bytes", GAUGE, "Resident memory of this process"),
    Metric("uptime_seconds", GAUGE, "Seconds since the start"),
    Metric("ready", GAUGE, "1 while Temporal says that this worker polls"),
    Metric("slots", GAUGE, "Steps that can run at the same time"),
    Metric("slots_free", GAUGE, "Slots that nothing uses now"),
    Metric("event_loop_lag_seconds", GAUGE, "How late the event loop woke at its last beat"),
    Metric("event_loop_silent_seconds", GAUGE, "Seconds since the event loop's last beat"),
    Metric("event_lag_seconds", GAUGE, "How old the oldest event is that waits, or was when it had last been sent"),
    Metric("spool_bytes", GAUGE, "Bytes of events on disk that the control plane has not taken yet"),
    Metric("events_lost_total", COUNTER, "Events that could be kept nowhere, or that the control plane refused"),
    Metric("step_seconds", HISTOGRAM, "Time of a step by type and outcome", ("type", "outcome")),
    Metric("step_retries_total", COUNTER, "Steps that were tried again", ("type",)),
    Metric("step_delay_seconds", HISTOGRAM, "From when a step could start to its start", ("type",)),
    Metric(
        "model_tokens_total",
        COUNTER,
        "Tokens by model and kind. Deprecated for `input` and `output`: gen_ai_client_token_usage_sum has them",
        ("model", "kind"),
    ),
    Metric("model_cost_usd_total", COUNTER, "Price of model calls, where it is known", ("model",)),
    Metric("tool_calls_total", COUNTER, "Tool calls by tool and outcome", ("tool", "outcome")),
    Metric("approvals_waiting", GAUGE, "Calls of the queue's executions that wait for a person's yes now", ("queue",)),
    Metric("approvals_requested_total", COUNTER, "Calls that had to wait for a person's yes", ("tool",)),
    Metric("restarts_total", COUNTER, "Restarts of this worker by its supervisor, by reason", ("reason",)),
    Metric("events_held_total", COUNTER, "Events that a workflow keeps, as neither control plane nor disk took them"),
    *(Metric(measure.prometheus, HISTOGRAM, measure.help, measure.labels, measure.buckets, "") for measure in MEASURES),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}

Key = tuple[str, tuple[str, ...]]


class _Histogram:
    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._buckets, value)] += 1
        self.sum += value


class Metrics:
    """Count, observe and render metrics from any thread; gauges are read when they are scraped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[Key, float] = defaultdict(float)
        self._gauges: dict[Key, float] = {}
        self._histograms: dict[Key, _Histogram] = {}

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        with self._lock:
            self._counters[(_checked(name, COUNTER, labels), labels)] += by

    def set_counter(self, name: str, total: float, *labels: str) -> None:
        """Set a counter to the total that another part of the worker has counted."""
        with self._lock:
            self._counters[(_checked(name, COUNTER, labels), labels)] = total

    def set_gauge(self, name: str, value: float | None, *labels: str) -> None:
        """Set a gauge to the value that another part of the worker has measured; None removes its line."""
        key = (_checked(name, GAUGE, labels), labels)
        with self._lock:
            if value is None:
                self._gauges.pop(key, None)
            else:
                self._gauges[key] = value

    def observe(self, name: str, value: float, *labels: str) -> None:
        key = (_checked(name, HISTOGRAM, labels), labels)
        with self._lock:
            if key not in self._histograms:
                self._histograms[key] = _Histogram(BY_NAME[name].buckets)
            self._histograms[key].observe(value)

    def text(self, gauges: Mapping[str, float], totals: Mapping[str, float], info: tuple[str, ...]) -> str:
        """Return the page in text format 0.0.4.

        `gauges` and `totals` (counters that others keep) map names to values.
        """
        lines: list[str] = []
        with self._lock:
            for metric in METRICS:
                samples = list(self._samples(metric, gauges, totals, info))
                if samples:
                    lines += [f"# HELP {metric.full} {metric.help}", f"# TYPE {metric.full} {metric.kind}", *samples]
        return "\n".join(lines) + "\n"

    def _samples(
        self, metric: Metric, gauges: Mapping[str, float], totals: Mapping[str, float], info: tuple[str, ...]
    ) -> Iterable[str]:
        name = metric.full
        if metric.name == "info":
            yield f"{name}{_labels(metric, info)} 1"
        elif metric.name in gauges or metric.name in totals:
            yield f"{name} {number(gauges.get(metric.name, totals.get(metric.name, 0)))}"
        elif metric.kind in (COUNTER, GAUGE):
            for (key, labels), value in sorted((self._counters if metric.kind == COUNTER else self._gauges).items()):
                if key == metric.name:
                    yield f"{name}{_labels(metric, labels)} {number(value)}"
            if not metric.labels and (metric.name, ()) not in self._counters:
                yield f"{name} 0"
        elif metric.kind == HISTOGRAM:
            for (key, labels), histogram in sorted(self._histograms.items(), key=lambda item: item[0]):
                if key == metric.name:
                    yield from _buckets(metric, labels, histogram)


def _checked(name: str, kind: str, labels: tuple[str, ...]) -> str:
    metric = BY_NAME[name]
    assert metric.kind == kind and len(labels) == len(metric.labels), name
    return name


def _labels(metric: Metric, values: tuple[str, ...], **more: str) -> str:
    pairs = [*zip(metric.labels, values, strict=True), *more.items()]
    text = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
    return f"{{{text}}}" if text else ""


def number(value: float) -> str:
    """Return a sample's value with all its digits: counters pass a million, and rounded ones would move in steps."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _buckets(metric: Metric, labels: tuple[str, ...], histogram: _Histogram) -> Iterable[str]:
    name, total = metric.full, 0
    for limit, count in zip((*map(number, metric.buckets), "+Inf"), histogram.counts, strict=True):
        total += count
        yield f"{name}_bucket{_labels(metric, labels, le=limit)} {total}"
    yield f"{name}_sum{_labels(metric, labels)} {number(histogram.sum)}"
    yield f"{name}_count{_labels(metric, labels)} {total}"


class Meter(Interceptor):
    """A Temporal interceptor that measures steps, and the calls of models and tools in them.

    `contexts` returns what this worker knows of an execution; `send` also takes what is measured.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.contexts: Callable[[str], calls.Context | None] = lambda _: None
        self.send: Callable[[Measured], None] | None = None

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Metering(next, self)


class _Metering(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, meter: Meter) -> None:
        super().__init__(next)
        self._meter, self._metrics = meter, meter.metrics

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info, began, outcome = activity.info(), time.monotonic(), "failed"
        kind = info.activity_type
        if kind == names.AWAIT_CONTROL_PLANE:  # this is no step: something outside completes it, at any time
            return await super().execute_activity(input)
        delay = info.started_time - info.current_attempt_scheduled_time
        self._metrics.observe("step_delay_seconds", max(0.0, delay.total_seconds()), kind)
        if info.attempt > 1:
            self._metrics.count("step_retries_total", kind)
        notes, result, error = current.notes(), None, ""
        try:
            result = await super().execute_activity(input)
            outcome = "completed"
            _count_result(self._metrics, input.args, result)
            return result
        except BaseException as raised:
            error = error_type(raised)
            outcome = "cancelled" if isinstance(raised, asyncio.CancelledError) else "failed"
            raise
        finally:
            seconds = time.monotonic() - began
            self._metrics.observe("step_seconds", seconds, kind, outcome)
            self._measure(kind, input.args[0] if input.args else None, result, error, seconds, notes)

    def _measure(
        self, kind: str, argument: Any, result: Any, error: str, seconds: float, notes: Mapping[str, Any]
    ) -> None:
        try:
            for measurement in of_step(kind, argument, result, error, seconds, notes, self._meter.contexts):
                self._metrics.observe(measurement.measure.prometheus, measurement.value, *measurement.attributes)
                if self._meter.send is not None:
                    self._meter.send(measurement)
        except Exception:  # no step may depend on it
            log.exception("metrics.failed")


def _count_result(metrics: Metrics, args: Iterable[Any], result: Any) -> None:
    if isinstance(result, calls.ModelResult):
        for kind in ("input", "output", "cache_read", "cache_creation"):
            tokens = result.usage.get(f"{kind}_tokens", 0)
            if tokens:
                metrics.count("model_tokens_total", result.model, kind, by=tokens)
        if result.usage.get("cost_usd"):
            metrics.count("model_cost_usd_total", result.model, by=result.usage["cost_usd"])
    if isinstance(result, calls.ToolOutcome):
        tool = next((arg.tool_name for arg in args if isinstance(arg, calls.ToolInput)), "")
        if result.approval is not None:
            metrics.count("approvals_requested_total", tool)
        elif result.message is not None:
            metrics.count("tool_calls_total", tool, str(result.message.get("status")))
    if isinstance(result, calls.ModelResult | calls.ToolOutcome) and result.undelivered:
        metrics.count("events_held_total", by=len(result.undelivered))


def exposition(
    metrics: Metrics,
    counters: ActivityCounters,
    condition: Callable[[], Mapping[str, Any]],
    slots: int,
    info: tuple[str, str],
    supervisor_state: str | None = None,
) -> str:
    """Return the whole metrics page.

    `condition` is the state that heartbeats send, `info` the queue and the worker's id. `supervisor_state` is the file
    in which a supervisor counts its restarts.
    """
    for reason, total in restarts(supervisor_state).items():
        metrics.set_counter("restarts_total", total, reason)
    counts, usage, state = counters.counts(), host.usage(), condition()
    gauges = {
        "active_tasks": counts.active,
        "cpu_percent": usage["cpu_percent"],
        "memory_bytes": usage["memory_bytes"],
        "uptime_seconds": usage["uptime_seconds"],
        "ready": int(bool(state.get("polling"))),
        "slots": slots,
        "slots_free": max(0, slots - counters.slots_taken()),
        "event_loop_lag_seconds": state.get("event_loop_lag", 0.0),
        "event_loop_silent_seconds": state.get("event_loop_silent", 0.0),
        "event_lag_seconds": round(state.get("event_lag", 0.0), 4),
        "spool_bytes": state.get("spool_bytes", 0),
    }
    totals = {
        "completed_tasks_total": counts.completed,
        "failed_tasks_total": counts.failed,
        "events_lost_total": state.get("events_lost", 0),
    }
    return metrics.text(gauges, totals, (__version__, *info))


def restarts(state_file: str | None) -> dict[str, int]:
    """Return the supervisor's restarts by reason; empty without a supervisor or when its file cannot be read."""
    if not state_file:
        return {}
    try:
        counts = json.loads(Path(state_file).read_bytes()).get("restarts")
    except (OSError, ValueError, AttributeError):
        return {}
    by_reason = counts if isinstance(counts, dict) else {}
    return {str(reason): total for reason, total in by_reason.items() if isinstance(total, int)}


def reference() -> str:
    """Return the table of metrics as Markdown."""
    rows = ["| metric | kind | labels | |", "|---|---|---|---|"]
    rows += [f"| `{m.full}` | {m.kind} | {', '.join(m.labels)} | {m.help} |" for m in METRICS]
    return "\n".join(rows) + "\n"
