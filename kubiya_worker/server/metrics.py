"""This module writes the control plane's metrics as Prometheus text: only counts, no names or ids."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from kubiya_worker import __version__
from kubiya_worker.server.notify.channels import TYPES
from kubiya_worker.server.store.statement import Prepared
from kubiya_worker.server.store.workers import live_since

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane


# All executions that there ever were are counted.
_STATUSES: Final = Prepared(text("select status, count(*) from executions group by status order by status"))
ALWAYS: Final = 1e12  # seconds
LOST_FOR: Final = 3600.0  # seconds for which a worker counts as lost
_WORKERS: Final = text(
    "select count(*) from workers where status != 'disconnected' and heartbeat_at >= :since and heartbeat_at < :until"
)


def _age(oldest: Any) -> float:
    """Return the seconds since a time in ISO-8601; 0 for none."""
    return max(0.0, round(time.time() - datetime.fromisoformat(str(oldest)).timestamp(), 3)) if oldest else 0.0


async def exposition(plane: Plane) -> str:
    """Return the metrics in text format 0.0.4."""
    statuses = await plane.database.aside(_STATUSES)
    execute = plane.database.execute
    since = live_since()
    live = execute(_WORKERS, {"since": since, "until": since + ALWAYS}).scalar()
    lost = execute(_WORKERS, {"since": since - LOST_FOR, "until": since}).scalar()
    pending, oldest = execute(text("select count(*), min(created_at) from approvals where status = 'pending'")).one()
    deliveries = plane.stores.notification_deliveries.counts()
    untold = execute(text("select count(*) from outbox")).scalar()
    families: list[tuple[str, str, list[tuple[str, Any]]]] = [
        ("info", "Version of the control plane", [(f'{{version="{__version__}"}}', 1)]),
        ("start_time_seconds", "When this process began, since the epoch", [("", plane.began)]),
        ("executions", "Executions by status", [(f'{{status="{status}"}}', count) for status, count in statuses]),
        ("workers_live", "Workers with a heartbeat in the last 150 s", [("", live)]),
        ("workers_lost", "Workers that fell silent in the last hour without a goodbye", [("", lost)]),
        ("approvals_pending", "Requests for approval that nobody has answered", [("", pending)]),
        ("approvals_oldest_seconds", "How long the oldest of them has waited", [("", _age(oldest))]),
        ("outbox_pending", "Actions that Temporal has still to be told", [("", untold)]),
        (
            "notification_deliveries",
            "Deliveries of notifications by state, of the last 30 days",
            [(f'{{state="{state}"}}', count) for state, count in sorted(deliveries.items())],
        ),
        ("streams_open", "Clients that follow an execution", [("", plane.watchers.count())]),
        ("notifications_sent_total", "Notifications that a channel took", _by_channel(plane.notifier.sent)),
        ("notifications_failed_total", "Tries that a channel did not take", _by_channel(plane.notifier.failed)),
    ]
    lines = []
    for name, about, samples in families:
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP kubiya_control_plane_{name} {about}", f"# TYPE kubiya_control_plane_{name} {kind}"]
        lines += [f"kubiya_control_plane_{name}{labels} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _by_channel(counts: Counter[str]) -> list[tuple[str, Any]]:
    return [(f'{{channel="{kind}"}}', counts[kind]) for kind in TYPES]
