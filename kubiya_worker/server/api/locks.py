"""This module serves the update locks of a queue's workers (docs/protocol.md#a3)."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from kubiya_worker.server.api.queues import queue_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import worker
from kubiya_worker.server.refusals import ApiError, invalid

USUAL = 300  # seconds


async def acquire(call: Call) -> Any:
    queue_id, worker_id = queue_of(call)["id"], call.path("worker")
    fields = call.fields
    seconds = fields.get("lock_duration_seconds", USUAL)
    if fields.get("worker_id", worker_id) != worker_id:
        raise invalid("worker_id", "worker_id is another one than in the path")
    lock = call.plane.stores.locks.acquire(queue_id, worker_id, seconds)
    if lock is None:
        raise ApiError(409, "Another worker of this queue is updating itself; try again when it is done")
    return lock.wire(queue_id)


async def release(call: Call) -> Any:
    if not call.plane.stores.locks.release(queue_of(call)["id"], call.path("worker")):
        raise ApiError(403, "Another worker holds the lock")


async def status(call: Call) -> Any:
    queue_id = queue_of(call)["id"]
    lock = call.plane.stores.locks.held(queue_id)
    about: dict[str, Any] = {"locked": False, "queue_id": queue_id, "lock_coordination_available": True}
    return (
        {**about, **lock.wire(queue_id), "ttl_seconds": call.plane.stores.locks.seconds_left(lock)} if lock else about
    )


ROUTES: list[Route] = [
    Edge("POST", "/worker-queues/{queue}/workers/{worker}/update-lock", acquire, body=worker.LockBody),
    Edge("DELETE", "/worker-queues/{queue}/workers/{worker}/update-lock", release),
    Edge("GET", "/worker-queues/{queue}/update-lock-status", status),
]
