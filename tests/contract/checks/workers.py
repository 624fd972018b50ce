"""Queues and workers (docs/protocol.md#a3, #a4)."""

from __future__ import annotations

import uuid

from tests.contract.checks.registry import checks
from tests.contract.control_planes import PlaneUnderTest


def _queue(plane: PlaneUnderTest) -> str:
    body = {"name": f"q{uuid.uuid4().hex[:12]}"}
    return str(plane.call("POST", "/environments/default/worker-queues", body, 201)["id"])


@checks("start.inactive")
def inactive_queue(plane: PlaneUnderTest) -> None:
    queue = _queue(plane)
    plane.call("PATCH", f"/worker-queues/{queue}", {"status": "paused"})
    assert plane.status("POST", f"/worker-queues/{queue}/start", {}) == 400


@checks("start.fresh-id")
def worker_ids(plane: PlaneUnderTest) -> None:
    path, asked = f"/worker-queues/{plane.queue_id}/start", f"w-{uuid.uuid4()}"
    first, second = (plane.call("POST", path, {})["worker_id"] for _ in range(2))
    assert first and second and first != second
    if plane.published:  # ours takes the id that a worker asks for
        assert plane.call("POST", path, {"worker_id": asked})["worker_id"] != asked


@checks("start.system-info")
def system_info(plane: PlaneUnderTest) -> None:
    path = f"/worker-queues/{plane.queue_id}/start"
    wrong = {"pid": "one", "cpu_count": 1.5, "supported_runtimes": "default", "docker_available": "perhaps"}
    for field, value in {**wrong, "memory_total": [], "cpu_percent": "half"}.items():
        plane.refused("POST", path, {"system_info": {field: value}})
        plane.refused("POST", f"/workers/{uuid.uuid4()}/heartbeat", {"system_info": {field: value}})
    plane.call("POST", path, {"system_info": {"pid": 4, "cpu_percent": 1, "docker_available": False}})


@checks("heartbeat.any-worker")
def heartbeat_of_anybody(plane: PlaneUnderTest) -> None:
    for worker in (str(uuid.uuid4()), "not-a-uuid"):
        body = {"status": "whatever", "tasks_processed": 3, "current_task_id": None, "system_info": None, "logs": None}
        plane.call("POST", f"/workers/{worker}/heartbeat", body, 204)


@checks("disconnect.unknown")
def goodbye(plane: PlaneUnderTest) -> None:
    assert plane.status("POST", f"/workers/{uuid.uuid4()}/disconnect", {"reason": "x"}) == 404
    worker = plane.call("POST", f"/worker-queues/{plane.queue_id}/start", {})["worker_id"]
    for _ in range(2):
        plane.call("POST", f"/workers/{worker}/disconnect", {"reason": "shutdown", "exit_code": 0}, 204)


@checks("queue.task-queue")
def task_queue(plane: PlaneUnderTest) -> None:
    queue = _queue(plane)
    told = plane.call("POST", f"/worker-queues/{queue}/start", {})
    assert told["task_queue_name"] == told["queue_id"] == queue
    assert plane.call("GET", f"/worker-queues/{queue}")["task_queue_name"] == queue
    assert told["temporal_namespace"] and ":" in told["temporal_host"]
