"""Queues and workers (docs/protocol.md#a3, #a4)."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from tests.support.published_plane import bodies
from tests.support.published_plane.edge import Call, Entry, Object, Refusal, broken, unknown
from tests.support.published_plane.world import now


def _queue(call: Call) -> Object:
    return call.found(call.world.queues, "queue", "Worker queue")


def _shown(call: Call, queue: Object) -> Object:
    return {**queue, "active_workers": len(call.world.live(queue["id"])), "created_by": None}


async def list_all(call: Call) -> Any:
    return [_shown(call, q) for q in call.world.queues.values() if not q["name"].startswith("local-exec")]


async def create(call: Call) -> Any:
    environment = call.text("environment")
    known = call.world.environments.values()
    if not any(environment in (e["id"], e["name"]) for e in known):
        raise unknown("Environment", environment)
    given = call.given.model_dump()
    if any(q["name"] == given["name"] for q in call.world.queues.values()):
        raise Refusal(409, f"Worker queue {given['name']} exists already")
    return _shown(call, call.world.queue(**given))


async def get(call: Call) -> Any:
    return _shown(call, _queue(call))


async def patch(call: Call) -> Any:
    queue = _queue(call)
    queue |= call.set
    return _shown(call, queue)


async def delete(call: Call) -> Any:
    queue = _queue(call)
    if queue["name"] == "default" or call.world.live(queue["id"]):
        raise Refusal(400, "The queue is the default one, or has active workers")
    del call.world.queues[queue["id"]]


async def start(call: Call) -> Any:
    queue, world = _queue(call), call.world
    if queue["status"] != "active" and world.holds("start.inactive"):
        raise Refusal(400, f"Worker queue is {queue['status']}, not active")
    asked = call.body.get("worker_id")
    worker_id = str(uuid.uuid4()) if world.holds("start.fresh-id") or not asked else str(asked)
    row = {"id": worker_id, "worker_id": worker_id, "worker_queue_id": queue["id"], "status": "active"}
    world.workers[worker_id] = {**row, "registered_at": now(), "system_info": call.body.get("system_info")}
    world.beats[worker_id] = {**row, "last_heartbeat": now(), "tasks_processed": 0, "worker_metadata": {}}
    return {
        "worker_id": worker_id,
        "task_queue_name": queue["id"] if world.holds("queue.task-queue") else queue["name"],
        "temporal_namespace": "default",
        "temporal_host": world.temporal_address,
        "temporal_api_key": "",
        "organization_id": world.organization,
        "control_plane_url": call.given.control_plane_url or str(call.request.base_url).rstrip("/"),
        "heartbeat_interval": queue["heartbeat_interval"],
        "litellm_api_url": world.gateway_url,
        "litellm_api_key": world.gateway_key,
        "queue_name": queue["name"],
        "environment_name": "default",
        "queue_id": queue["id"],
        "queue_ephemeral": queue["name"].startswith("local-exec"),
        "queue_single_execution": False,
        "redis_url": None,
        "redis_password": None,
        "redis_enabled": False,
        "websocket_enabled": True,  # it says so, and answers 403
        "websocket_url": f"ws://{call.request.base_url.netloc}/api/v1/ws/workers/{worker_id}",
        "websocket_features": ["events", "control", "heartbeat", "config_update"],
        "nats_config": None,
        "control_plane_sdk_version": "1.0.2",
    }


async def heartbeat(call: Call) -> Any:
    world, worker_id = call.world, call.text("worker")
    row = world.workers.get(worker_id)
    if row is None and not world.holds("heartbeat.any-worker"):
        raise unknown("Worker", worker_id)
    if row is not None:
        beat = {**row, **call.given.model_dump(exclude_none=True), "last_heartbeat": now()}
        world.beats[worker_id] = beat


async def disconnect(call: Call) -> Any:
    row = call.found(call.world.workers, "worker", "Worker") if call.world.holds("disconnect.unknown") else {}
    row |= {"status": "disconnected", "goodbye": call.given.model_dump()}
    call.world.beats.pop(call.text("worker"), None)


async def workers(call: Call) -> Any:
    return call.world.live(_queue(call)["id"])


async def executions(call: Call) -> Any:
    queue, limit = _queue(call), int(call.query("limit", "10"))
    found = [e for e in call.world.executions.values() if e["_queue"] == queue["id"]]
    return [
        {**{k: e[k] for k in ("id", "status", "entity_id", "entity_name", "execution_type", "created_at")}}
        | {"prompt": e["prompt"][:200], "started_at": e["started_at"], "completed_at": e["completed_at"]}
        for e in sorted(found, key=lambda e: str(e["created_at"]), reverse=True)[:limit]
    ]


async def config(call: Call) -> Any:
    queue = _queue(call)
    keys = ("name", "status", "max_workers", "heartbeat_interval", "tags", "settings")
    text = json.dumps({k: queue[k] for k in keys}, sort_keys=True)
    return {
        **{k: queue[k] for k in (*keys, "display_name", "description", "environment_id")},
        "queue_id": queue["id"],
        "config_version": hashlib.sha256(text.encode()).hexdigest(),
        "config_updated_at": queue["updated_at"],
        "recommended_package_version": "1.0.2",
        "environment_name": "default",
    }


async def metrics(call: Call) -> Any:
    queue = _queue(call)
    live = len(call.world.live(queue["id"]))
    return {"queue_id": queue["id"], "active_workers": live, "total_workers": live, "updated_at": now()}


async def lock(call: Call) -> Any:
    raise broken("'Redis' object has no attribute 'set'")


async def lock_status(call: Call) -> Any:
    return {"locked": False, "queue_id": call.text("queue"), "lock_coordination_available": True}


async def unlock(call: Call) -> Any:
    return None


async def environments(call: Call) -> Any:
    return list(call.world.environments.values())


async def socket(call: Call) -> Any:
    raise Refusal(403, "Forbidden")


_Q = "/worker-queues/{queue}"
ENTRIES = (
    Entry("GET", "/worker-queues", list_all),
    Entry("GET", "/environments", environments),
    Entry("POST", "/environments/{environment}/worker-queues", create, 201, bodies.Queue),
    Entry("GET", "/environments/{environment}/worker-queues", list_all),
    Entry("GET", _Q, get),
    Entry("PATCH", _Q, patch, 200, bodies.QueuePatch),
    Entry("DELETE", _Q, delete, 204),
    Entry("POST", _Q + "/start", start, 200, bodies.Start, body_optional=True),
    Entry("GET", _Q + "/workers", workers),
    Entry("GET", _Q + "/executions", executions),
    Entry("GET", _Q + "/config", config, optional=True),
    Entry("GET", _Q + "/metrics", metrics, optional=True),
    Entry("POST", _Q + "/workers/{worker}/update-lock", lock, 200, bodies.Lock, optional=True),
    Entry("DELETE", _Q + "/workers/{worker}/update-lock", unlock, 204, optional=True),
    Entry("GET", _Q + "/update-lock-status", lock_status, optional=True),
    Entry("POST", "/workers/{worker}/heartbeat", heartbeat, 204, bodies.Beat, stored=False, body_optional=True),
    Entry("POST", "/workers/{worker}/disconnect", disconnect, 204, bodies.Disconnect, body_optional=True),
    Entry("GET", "/ws/workers/{worker}", socket, optional=True),
)
