"""This module decides what a proven delivery does: start a run, tell one, wait, or nothing. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.server.hooks.alert import Alert
from kubiya_worker.server.hooks.forges import PING

# Verdicts, as `kubiya hooks deliveries` shows them.
STARTED: Final = "started"
TOLD: Final = "told"  # the running execution got a message
HELD: Final = "held"  # it waits for the one run that gets a list
REPEATED: Final = "repeated"
GROUPED: Final = "grouped"  # a run works on it, and is not told
RESOLVED: Final = "resolved"  # nothing works on it
IGNORED: Final = "ignored"
COOLING: Final = "cooling-down"
DISABLED: Final = "disabled"
REFUSED: Final = "refused"  # no proof
MALFORMED: Final = "malformed"
FAILED: Final = "failed"
VERDICTS: Final = (
    *(STARTED, TOLD, HELD, REPEATED, GROUPED, RESOLVED, IGNORED, COOLING, DISABLED, REFUSED, MALFORMED, FAILED),
)
MESSAGE: Final = "message"
DROP: Final = "drop"
WINDOW: Final = 60.0  # seconds in which starts are counted
MOST_STARTS: Final = 6  # a minute, unless a hook says another number
COOL_DOWN: Final = 900  # seconds


@dataclass(frozen=True)
class HookVerdict:
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class Thread:
    """A thread is what is known of one alert or ticket: its last run, and the last state that the hook was told."""

    state: str
    held: bool
    execution_id: str = ""
    starts: int = 0
    open: bool = False  # the run is not over
    busy_until: float = 0.0  # seconds since the epoch: when the last run began, or ended


def unwanted(hook: Mapping[str, Any], alert: Alert) -> str:
    """Return why the hook is not about this delivery; empty when it is."""
    events = hook.get("events") or []
    if alert.event == PING:
        return "ping: the sender and the hook know each other"
    if events and not any(fnmatch.fnmatchcase(alert.event, pattern) for pattern in events):
        return f"The event {alert.event or 'without a name'} is none of the hook's events"
    for name, pattern in (hook.get("match") or {}).items():
        value = alert.severity if name == "severity" and name not in alert.labels else alert.labels.get(name, "")
        if not fnmatch.fnmatchcase(value, pattern):
            return f"The label {name} is {value!r}, and the hook wants {pattern!r}"
    return ""


def decide(hook: Mapping[str, Any], alert: Alert, thread: Thread | None, starts: int, now: float) -> HookVerdict:
    """Return what to do with a delivery; `starts` are the runs that the hook has started within WINDOW."""
    why = unwanted(hook, alert)
    if why:
        return HookVerdict(IGNORED, why)
    if thread is not None and (thread.open or thread.held) and thread.state == alert.state:
        return HookVerdict(REPEATED, "Nothing is new since the delivery before")
    if thread is not None and thread.open:
        field = "resolved" if alert.resolved else "while_running"
        if hook.get(field, MESSAGE) == DROP:
            return HookVerdict(GROUPED, f"The execution {thread.execution_id} works on it, and {field} is drop")
        return HookVerdict(TOLD, f"The execution {thread.execution_id} works on it")
    if alert.resolved:
        return HookVerdict(
            RESOLVED, "It ended before its run began" if thread and thread.held else "No run works on it"
        )
    if thread is not None and thread.held:
        return HookVerdict(HELD, "It waits for the run that gets a list")
    cool = float(hook.get("cooldown_seconds", COOL_DOWN))
    if thread is not None and thread.busy_until and now < thread.busy_until + cool:
        left = thread.busy_until + cool - now
        return HookVerdict(
            COOLING, f"The execution {thread.execution_id} worked on it; {left:.0f} s of the cool-down are left"
        )
    most = int(hook.get("max_starts_per_minute", MOST_STARTS))
    if starts >= most:
        return HookVerdict(HELD, f"The hook has started {starts} runs within a minute; {most} are allowed")
    return HookVerdict(STARTED)
