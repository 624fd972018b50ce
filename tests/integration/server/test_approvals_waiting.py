"""The number of calls that wait for a person stays right, however each of them ends."""

from __future__ import annotations

import json
import uuid

from tests.support import databases
from tests.support.control_plane import ControlPlane


def _queue(plane: ControlPlane) -> str:
    body = {"name": f"q-{uuid.uuid4().hex[:8]}"}
    return str(plane.call("POST", "/environments/default/worker-queues", body, 201)["id"])


def _execution(plane: ControlPlane, queue: str) -> str:
    return plane.execute(worker_queue_id=queue)


def _ask(plane: ControlPlane, execution: str, minutes: int = 60) -> str:
    body = {"tool_name": "shell", "execution_id": execution, "timeout_minutes": minutes}
    return str(plane.call("POST", "/approvals", body, 201)["id"])


def _let_expire(plane: ControlPlane, approval: str) -> None:
    """Put the end of its time into the past: a minute is the shortest that can be asked for."""
    with databases.opened(plane.database) as database:
        (data,) = database.execute("select data from approvals where id = ?", [approval]).fetchone()
        past = json.dumps(json.loads(data) | {"expires_at": "2020-01-01T00:00:00+00:00"})
        database.execute("update approvals set data = ? where id = ?", [past, approval])


def _waiting(plane: ControlPlane, queue: str) -> int:
    return int(plane.call("GET", f"/worker-queues/{queue}/metrics")["approvals_waiting"])


def test_each_way_in_which_a_request_ends_ends_the_waiting(plane: ControlPlane) -> None:
    queue, other = _queue(plane), _queue(plane)
    first, second = _execution(plane, queue), _execution(plane, queue)
    assert _waiting(plane, queue) == 0
    approved, denied, expired, _ = (_ask(plane, first) for _ in range(4))
    _ask(plane, second)
    _ask(plane, _execution(plane, other))
    assert (_waiting(plane, queue), _waiting(plane, other)) == (5, 1)
    plane.call("POST", f"/approvals/{approved}/approve", {})
    assert _waiting(plane, queue) == 4
    plane.call("POST", f"/approvals/{denied}/reject", {"reason": "no"})
    assert _waiting(plane, queue) == 3
    plane.call("POST", f"/approvals/{expired}/expire", {})
    assert _waiting(plane, queue) == 2
    plane.call("PATCH", f"/executions/{first}", {"status": "cancelled"})
    assert _waiting(plane, queue) == 1
    plane.call("PATCH", f"/executions/{second}", {"status": "failed"})
    assert (_waiting(plane, queue), _waiting(plane, other)) == (0, 1)


def test_one_that_nobody_answered_in_time_does_not_wait(plane: ControlPlane) -> None:
    queue = _queue(plane)
    approval = _ask(plane, _execution(plane, queue), minutes=1)
    assert _waiting(plane, queue) == 1
    _let_expire(plane, approval)
    assert _waiting(plane, queue) == 0
