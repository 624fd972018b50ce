"""Environments, worker queues, workers (PROTOCOL A.3, A.4)."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.routing import Route

from kubiya_worker import __version__
from kubiya_worker.protocol import names
from kubiya_worker.protocol.messages import canonical
from kubiya_worker.server.http import ApiError, Call, not_found, route
from kubiya_worker.server.store.records import Object

FEATURES = (
    names.FEATURE_EVENTS_BATCH,
    names.FEATURE_CONTEXT,
    names.FEATURE_TURN_STATUS,
    names.FEATURE_APPROVAL_SIGNAL,
)


def queue_of(call: Call, key: str | None = None) -> Object:
    """A queue by id or name."""
    key = key if key is not None else call.path("queue")
    found = call.plane.queues.find(call.organization_id, key)
    if found is None:
        raise not_found("Worker queue", key)
    return found


def _shown(call: Call, queue: Object) -> Object:
    live = call.plane.workers.live(call.organization_id, queue["id"])
    return {**queue, "active_workers": len(live), "task_queue_name": queue["id"]}


def _environment(call: Call, key: str) -> Object:
    found = call.plane.environments.find(call.organization_id, key)
    if found is None and key == "default":
        return call.plane.environments.create(call.organization_id, "default", new_environment({}))
    if found is None:
        raise not_found("Environment", key)
    return found


def new_environment(body: Object) -> Object:
    return {
        "display_name": body.get("display_name"),
        "description": body.get("description"),
        "tags": body.get("tags") or [],
        "settings": body.get("settings") or {},
        "execution_environment": body.get("execution_environment") or {},
        "status": "ready",
    }


def new_queue(body: Object, environment_id: str) -> Object:
    return {
        "environment_id": environment_id,
        "display_name": body.get("display_name"),
        "description": body.get("description"),
        "status": "active",
        "max_workers": body.get("max_workers"),
        "heartbeat_interval": body.get("heartbeat_interval") or 30,
        "tags": body.get("tags") or [],
        "settings": body.get("settings") or {},
        "ephemeral": bool(body.get("ephemeral")),
        "single_execution_mode": bool(body.get("single_execution_mode")),
    }


async def list_environments(call: Call) -> Any:
    _environment(call, "default")
    return call.plane.environments.list(call.organization_id)


async def create_environment(call: Call) -> Any:
    return call.plane.environments.create(call.organization_id, call.text("name"), new_environment(call.body))


async def get_environment(call: Call) -> Any:
    return _environment(call, call.path("environment"))


async def list_queues(call: Call) -> Any:
    queues = call.plane.queues.list(call.organization_id)
    return [_shown(call, q) for q in queues if not q.get("ephemeral") and not q["name"].startswith("local-exec")]


async def list_environment_queues(call: Call) -> Any:
    environment = _environment(call, call.path("environment"))
    queues = call.plane.queues.list(call.organization_id)
    return [_shown(call, q) for q in queues if q["environment_id"] == environment["id"]]


async def create_queue(call: Call) -> Any:
    environment = _environment(call, call.path("environment"))
    name = call.text("name")
    if not 2 <= len(name) <= 50:
        raise ApiError(422, [{"loc": ["body", "name"], "msg": "2 to 50 characters", "type": "string_length"}])
    return _shown(call, call.plane.queues.create(call.organization_id, name, new_queue(call.body, environment["id"])))


async def get_queue(call: Call) -> Any:
    return _shown(call, queue_of(call))


async def update_queue(call: Call) -> Any:
    return _shown(call, call.plane.queues.update(queue_of(call), call.body))


async def delete_queue(call: Call) -> Any:
    queue = queue_of(call)
    if queue["name"] == "default":
        raise ApiError(400, "The queue 'default' cannot be deleted")
    if not queue.get("ephemeral") and call.plane.workers.live(call.organization_id, queue["id"]):
        raise ApiError(400, f"The queue {queue['name']!r} has active workers; stop them first")
    call.plane.queues.delete(queue["id"])


async def start_worker(call: Call) -> Any:
    queue, plane = queue_of(call), call.plane
    if queue["status"] != "active":
        raise ApiError(400, f"The queue {queue['name']!r} is {queue['status']}, not active")
    environment = plane.environments.find(call.organization_id, queue["environment_id"])
    worker_id = plane.workers.register(call.organization_id, queue["id"], call.body.get("system_info") or {})
    return {
        "worker_id": worker_id,
        "task_queue_name": queue["id"],
        "temporal_namespace": plane.temporal.namespace,
        "temporal_host": plane.temporal.address,
        "temporal_api_key": "",
        "organization_id": call.organization_id,
        "control_plane_url": call.body.get("control_plane_url") or str(call.request.base_url).rstrip("/"),
        "heartbeat_interval": queue["heartbeat_interval"],
        "litellm_api_url": plane.litellm_url,
        "litellm_api_key": plane.litellm_key,
        "queue_name": queue["name"],
        "environment_name": environment["name"] if environment else "default",
        "queue_id": queue["id"],
        "queue_ephemeral": queue.get("ephemeral", False),
        "queue_single_execution": queue.get("single_execution_mode", False),
        "redis_enabled": False,
        "websocket_enabled": False,
        "websocket_features": [],
        "nats_config": None,
        "control_plane_sdk_version": __version__,
        "features": list(FEATURES),
    }


async def queue_config(call: Call) -> Any:
    queue = queue_of(call)
    keys = ("name", "status", "max_workers", "heartbeat_interval", "tags", "settings")
    version = hashlib.sha256(canonical({k: queue.get(k) for k in keys}).encode()).hexdigest()
    environment = call.plane.environments.find(call.organization_id, queue["environment_id"])
    return {
        **{k: queue.get(k) for k in (*keys, "display_name", "description", "environment_id")},
        "queue_id": queue["id"],
        "config_version": version,
        "config_updated_at": queue["updated_at"],
        "recommended_package_version": None,
        "environment_name": environment["name"] if environment else "default",
    }


async def queue_workers(call: Call) -> Any:
    return call.plane.workers.live(call.organization_id, queue_of(call)["id"])


async def queue_metrics(call: Call) -> Any:
    queue = queue_of(call)
    live = call.plane.workers.live(call.organization_id, queue["id"])
    active = [int(w["worker_metadata"].get("active_tasks") or 0) for w in live]
    failed = sum(int(w["worker_metadata"].get("failed_tasks") or 0) for w in live)
    done = sum(int(w["tasks_processed"]) for w in live)
    busy = sum(1 for a in active if a)
    return {
        "queue_id": queue["id"],
        "active_workers": len(live),
        "idle_workers": len(live) - busy,
        "busy_workers": busy,
        "total_workers": len(live),
        "tasks_processed_24h": done,
        "tasks_failed_24h": failed,
        "tasks_pending": len(call.plane.executions.page(call.organization_id, queue_id=queue["id"], status="pending")),
        "error_rate_percent": round(100 * failed / max(1, done + failed), 2),
        "updated_at": queue["updated_at"],
    }


async def queue_executions(call: Call) -> Any:
    status = call.query("status", "all")
    found = call.plane.executions.page(
        call.organization_id,
        queue_id=queue_of(call)["id"],
        status="" if status == "all" else status,
        limit=call.number("limit", 10, 1, 200),
    )
    keys = ("id", "status", "entity_id", "entity_name", "execution_type", "created_at", "started_at", "completed_at")
    return [
        {
            **{k: e.get(k) for k in keys},
            "prompt": str(e.get("prompt") or "")[:200],
            "temporal_workflow_id": names.workflow_id(e["execution_type"], e["id"]),
        }
        for e in found
    ]


async def worker_command(call: Call) -> Any:
    queue = queue_of(call)
    live = call.plane.workers.live(call.organization_id, queue["id"])
    return {
        "queue_id": queue["id"],
        "command": f"kubiya worker start --queue-id {queue['id']}",
        "command_parts": {"binary": "kubiya", "subcommand": "worker start", "flags": {"--queue-id": queue["id"]}},
        "can_register": queue["status"] == "active",
        "queue_status": queue["status"],
        "active_workers": len(live),
        "max_workers": queue.get("max_workers"),
    }


async def queue_health(call: Call) -> Any:
    queue = queue_of(call)
    live = call.plane.workers.live(call.organization_id, queue["id"])
    status = "healthy" if live else "no_workers"
    return {"status": status, "queue_id": queue["id"], "active_workers": len(live), "workers": live}


async def heartbeat(call: Call) -> Any:
    call.plane.workers.beat(call.organization_id, call.path("worker"), call.body)  # 204 always, as published


async def disconnect(call: Call) -> Any:
    if not call.plane.workers.disconnect(call.organization_id, call.path("worker"), call.body):
        raise not_found("Worker", call.path("worker"))


ROUTES: list[Route] = [
    route("GET", "/environments", list_environments),
    route("POST", "/environments", create_environment, 201),
    route("GET", "/environments/{environment}", get_environment),
    route("POST", "/environments/{environment}/worker-queues", create_queue, 201),
    route("GET", "/environments/{environment}/worker-queues", list_environment_queues),
    route("GET", "/worker-queues", list_queues),
    route("GET", "/worker-queues/{queue}", get_queue),
    route("PATCH", "/worker-queues/{queue}", update_queue),
    route("DELETE", "/worker-queues/{queue}", delete_queue),
    route("POST", "/worker-queues/{queue}/start", start_worker),
    route("GET", "/worker-queues/{queue}/config", queue_config),
    route("GET", "/worker-queues/{queue}/workers", queue_workers),
    route("GET", "/worker-queues/{queue}/metrics", queue_metrics),
    route("GET", "/worker-queues/{queue}/executions", queue_executions),
    route("GET", "/worker-queues/{queue}/worker-command", worker_command),
    route("GET", "/workers/{queue}/health", queue_health),
    route("POST", "/workers/{worker}/heartbeat", heartbeat),
    route("POST", "/workers/{worker}/disconnect", disconnect),
]
