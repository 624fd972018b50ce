"""The control plane's metrics tell of workers that vanished and of approvals that age."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from tests.support.api import Api


def metric(api: Api, name: str) -> float:
    (value,) = re.findall(rf"^kubiya_control_plane_{name} (\S+)$", api.ask("GET", "//metrics").text, re.MULTILINE)
    return float(value)


@pytest.mark.parametrize(
    ("status", "silent", "live", "lost"),
    [("active", 10, 1, 0), ("active", 200, 0, 1), ("active", 8000, 0, 0), ("disconnected", 200, 0, 0)],
)
def test_a_worker_that_fell_silent_is_lost_and_one_that_said_goodbye_is_not(
    api: Api, status: str, silent: float, live: int, lost: int
) -> None:
    before = metric(api, "workers_live"), metric(api, "workers_lost")
    row = {"id": "metric-worker", "status": status, "at": time.time() - silent}
    insert = (
        "insert into workers (id, organization_id, queue_id, status, registered_at, heartbeat_at, data) "
        "values (:id, 'other', 'queue', :status, '2026-01-01', :at, '{}')"
    )
    with api.plane.database.transaction():
        api.plane.database.execute(text(insert), row)
    try:
        assert (metric(api, "workers_live") - before[0], metric(api, "workers_lost") - before[1]) == (live, lost)
    finally:
        with api.plane.database.transaction():
            api.plane.database.execute(text("delete from workers where id = 'metric-worker'"))


def test_the_oldest_approval_tells_how_long_it_has_waited(api: Api) -> None:
    assert metric(api, "approvals_oldest_seconds") == 0
    body = {"prompt": "Look.", "worker_queue_id": "default"}
    execution = api.call("POST", "/agents/ops/execute", body)["execution_id"]
    api.call("POST", "/approvals", {"execution_id": execution, "tool_name": "shell"}, 201)
    assert 0 <= metric(api, "approvals_oldest_seconds") < 60
    with api.plane.database.transaction():
        at = (datetime.now(UTC) - timedelta(hours=5)).isoformat()
        api.plane.database.execute(text("update approvals set created_at = :at"), {"at": at})
    assert 17_990 < metric(api, "approvals_oldest_seconds") < 18_100
