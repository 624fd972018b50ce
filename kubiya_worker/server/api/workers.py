"""This module serves workers: registration, heartbeats, disconnection and lists (docs/protocol.md#a3, #a4)."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from kubiya_worker import __version__
from kubiya_worker.protocol import names
from kubiya_worker.server.api.environments import name_of
from kubiya_worker.server.api.queues import queue_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import worker as edges
from kubiya_worker.server.refusals import ApiError, invalid, not_found

FEATURES = (
    names.FEATURE_EVENTS_BATCH,
    names.FEATURE_CONTEXT,
    names.FEATURE_AUTHORITY,
    names.FEATURE_SECRETS,
    names.FEATURE_TURN_STATUS,
    names.FEATURE_APPROVAL_SIGNAL,
    names.FEATURE_SESSION_PARTS,
    names.FEATURE_BATCH,
    names.FEATURE_BATCH_GROUPS,
    names.FEATURE_BATCH_IF,
    names.FEATURE_WISHES,
    names.FEATURE_RUN_FILES,
)


async def start(call: Call) -> Any:
    queue, plane, fields = queue_of(call), call.plane, call.fields
    if queue["status"] != "active":
        raise ApiError(400, f"The queue {queue['name']!r} is {queue['status']}, not active")
    asked = fields.get("worker_id") or None
    if asked is not None and not names.WORKER_ID.fullmatch(asked):
        raise invalid("worker_id", "worker_id is letters, digits, '.', '_', '-'; at most 128")
    worker_id = plane.stores.workers.register(call.organization_id, queue["id"], fields.get("system_info") or {}, asked)
    return {
        "worker_id": worker_id,
        "task_queue_name": queue["id"],
        **plane.temporal.access.for_workers(),
        "temporal_cluster_id": plane.temporal.cluster_id,
        "organization_id": call.organization_id,
        "control_plane_url": fields.get("control_plane_url") or str(call.request.base_url).rstrip("/"),
        "heartbeat_interval": queue["heartbeat_interval"],
        "litellm_api_url": plane.gateway.url,
        "litellm_api_key": plane.gateway.key,
        "queue_name": queue["name"],
        "environment_name": name_of(call, queue["environment_id"]),
        "queue_id": queue["id"],
        "queue_ephemeral": queue["ephemeral"],
        "queue_single_execution": queue["single_execution_mode"],
        "redis_url": None,
        "redis_password": None,
        "redis_enabled": False,
        "websocket_enabled": False,
        "websocket_url": None,
        "websocket_features": [],
        "nats_config": None,
        "control_plane_sdk_version": __version__,
        "features": [each for each in FEATURES if each != names.FEATURE_RUN_FILES or plane.run_files.kept],
        "payload_key_id": plane.temporal.payloads.key_id,
        "wish": plane.stores.workers.wish_of(call.organization_id, worker_id),
    }


async def list_all(call: Call) -> Any:
    """List the live workers of all queues; with `gone`, those of the last day too."""
    workers = call.plane.stores.workers
    rows = workers.live(call.organization_id)
    if call.filters(filters.WorkerFilters).gone:
        rows += workers.gone(call.organization_id)
    return [w for w in rows if call.person.scope.has_queue(w["queue_id"])]


async def health(call: Call) -> Any:
    """Return a queue's health as the guide describes it."""
    queue = queue_of(call)
    live = call.plane.stores.workers.live(call.organization_id, queue["id"])
    # Our workers report whether they poll; for others a heartbeat has to be enough.
    polling = [w for w in live if w["worker_metadata"].get("polling", True)]
    status = "healthy" if polling else "degraded" if live else "no_workers"
    return {"status": status, "queue_id": queue["id"], "active_workers": len(live), "workers": live}


def _reached(call: Call) -> bool:
    """Return whether the caller's key reaches the queue of the worker in the path."""
    queue_id = call.plane.stores.workers.queue_of(call.organization_id, call.path("worker"))
    return queue_id is not None and call.person.scope.has_queue(queue_id)


async def heartbeat(call: Call) -> Any:
    """Store a heartbeat; answer 204 also for an unknown worker, as published, since its next registration makes
    it known. With a wish of a person about this worker, the answer is 200 and says it.
    """
    if _reached(call) and call.plane.stores.workers.beat(call.organization_id, call.path("worker"), call.fields):
        wish = call.plane.stores.workers.wish_of(call.organization_id, call.path("worker"))
        return {"wish": wish} if wish else None
    return None


async def disconnect(call: Call) -> Any:
    about = call.fields
    if not _reached(call) or not call.plane.stores.workers.disconnect(call.organization_id, call.path("worker"), about):
        raise not_found("Worker", call.path("worker"))


ROUTES: list[Route] = [
    Edge("POST", "/worker-queues/{queue}/start", start, body=edges.Start),
    Edge("GET", "/workers", list_all, query=filters.WorkerFilters),
    Edge("GET", "/workers/{queue}/health", health),
    Edge("POST", "/workers/{worker}/heartbeat", heartbeat, body=edges.Beat),
    Edge("POST", "/workers/{worker}/disconnect", disconnect, body=edges.Disconnect),
]
