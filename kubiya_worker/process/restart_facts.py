"""This module tells heartbeats how often the supervisor has started this worker again, and why the last time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

WHY: Final = 300  # characters
ENDED_BY_ITSELF: Final = ("network", "asked")


def restarts(state_file: str | None) -> dict[str, Any]:
    """Return {restarts: {class: count}, last_death: {at, class, why, code, signal}} of the supervisor's state file.

    Empty without a supervisor, or when the file cannot be read: a heartbeat goes out in any case. The counts do not
    change while this worker runs, since each restart is a new worker.
    """
    try:
        state = json.loads(Path(state_file).read_bytes()) if state_file else {}
        counts = {str(kind): int(count) for kind, count in state.get("restarts", {}).items() if count}
        deaths = state.get("deaths") or []
        last = {key: deaths[-1].get(key) for key in ("at", "class", "why", "code", "signal")} if deaths else None
        # What a worker says of itself last is why it ended by itself; one that crashed says something else.
        if last and not last["why"] and last["class"] in ENDED_BY_ITSELF and deaths[-1].get("status"):
            last["why"] = deaths[-1]["status"]
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    if last and last.get("why"):
        last["why"] = str(last["why"])[:WHY]
    return {**({"restarts": counts} if counts else {}), **({"last_death": last} if last else {})}
