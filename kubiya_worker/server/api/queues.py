"""This module serves worker queues (docs/protocol.md#a3); every path takes a queue's id or its name."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.routing import Route

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now
from kubiya_worker.protocol.messages import canonical
from kubiya_worker.server.api.environments import environment_of, name_of
from kubiya_worker.server.http import ApiError, Call, invalid, not_found, route
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object

STATUSES = ("active", "inactive", "paused")
CONFIG_KEYS = ("name", "status", "max_workers", "heartbeat_interval", "tags", "settings")


def queue_of(call: Call, key: str | None = None) -> Object:
    """Return a queue by id or name, or answer 404."""
    key = key if key is not None else call.path("queue")
    found = call.plane.queues.find(call.organization_id, key)
    if found is None:
        raise not_found("Worker queue", key)
    return found


def hidden(queue: Object) -> bool:
    """Return whether a queue belongs to one run (`kubiya exec --local`): it is not listed, and gets no other work."""
    return bool(queue.get("ephemeral"))


def _live(call: Call, queue: Object) -> list[dict[str, Any]]:
    return call.plane.workers.live(call.organization_id, queue["id"])


def _shown(call: Call, queue: Object) -> Object:
    return {**queue, "active_workers": len(_live(call, queue)), "task_queue_name": queue["id"]}


def _fields(call: Call) -> Object:
    given = call.fields(definitions.QUEUE_FIELDS)
    if "name" in given:
        given["name"] = call.name(low=2, high=50)
    if not 10 <= given.get("heartbeat_interval", 10) <= 300:
        raise invalid("heartbeat_interval", "heartbeat_interval must be 10 to 300 seconds")
    if given.get("max_workers", 1) < 1:
        raise invalid("max_workers", "max_workers must be at least 1")
    if given.get("status", "active") not in STATUSES:
        raise invalid("status", f"status is one of {', '.join(STATUSES)}", "enum")
    return given


async def list_all(call: Call) -> Any:
    return [_shown(call, q) for q in call.plane.queues.list(call.organization_id) if not hidden(q)]


async def list_of_environment(call: Call) -> Any:
    environment = environment_of(call)
    queues = call.plane.queues.list(call.organization_id)
    return [_shown(call, q) for q in queues if q["environment_id"] == environment["id"] and not hidden(q)]


async def create(call: Call) -> Any:
    environment = environment_of(call)
    name = call.name(low=2, high=50)
    queue = definitions.new_queue(_fields(call), environment["id"])
    return _shown(call, call.plane.queues.create(call.organization_id, name, queue))


async def get(call: Call) -> Any:
    return _shown(call, queue_of(call))


async def update(call: Call) -> Any:
    given = _fields(call)
    if "max_workers" in call.body and call.body["max_workers"] is None:
        given["max_workers"] = None  # no limit
    return _shown(call, call.plane.queues.update(queue_of(call), given))


async def delete(call: Call) -> Any:
    queue = queue_of(call)
    if queue["name"] == "default":
        raise ApiError(400, "The queue 'default' cannot be deleted")
    if not hidden(queue) and _live(call, queue):
        raise ApiError(400, f"The queue {queue['name']!r} has active workers; stop them first")
    jobs = [job["name"] for job in call.plane.jobs.list(call.organization_id) if job.get("queue_id") == queue["id"]]
    if jobs:
        raise ApiError(400, f"The schedule of the job {jobs[0]!r} runs on the queue {queue['name']!r}; change it first")
    call.plane.queues.delete(queue["id"])


async def config(call: Call) -> Any:
    queue = queue_of(call)
    version = canonical({**{key: queue.get(key) for key in CONFIG_KEYS}, "tags": sorted(map(str, queue["tags"]))})
    return {
        **{k: queue.get(k) for k in (*CONFIG_KEYS, "display_name", "description", "environment_id")},
        "queue_id": queue["id"],
        "config_version": hashlib.sha256(version.encode()).hexdigest(),
        "config_updated_at": queue["updated_at"],
        "recommended_package_version": os.environ.get("KUBIYA_RECOMMENDED_WORKER_VERSION") or None,
        "environment_name": name_of(call, queue["environment_id"]),
    }


async def workers(call: Call) -> Any:
    return _live(call, queue_of(call))


async def metrics(call: Call) -> Any:
    """Return a queue's counts: executions of the last 24 hours, and workers now."""
    queue = queue_of(call)
    live = _live(call, queue)
    busy = sum(1 for w in live if w["worker_metadata"].get("active_tasks") or w["current_task_id"])
    recent = call.plane.executions.counts(
        call.organization_id, queue["id"], (datetime.now(UTC) - timedelta(days=1)).isoformat()
    )
    done, failed = recent.get(ex.COMPLETED, 0), recent.get(ex.FAILED, 0)
    return {
        "queue_id": queue["id"],
        "active_workers": len(live),
        "idle_workers": len(live) - busy,
        "busy_workers": busy,
        "total_workers": len(live),
        "tasks_processed_24h": done + failed,
        "tasks_failed_24h": failed,
        "tasks_pending": recent.get(ex.PENDING, 0),
        "avg_task_duration_ms": None,
        "error_rate_percent": round(100 * failed / max(1, done + failed), 2),
        "last_error_at": None,
        "task_queue_backlog": recent.get(ex.PENDING, 0),
        "task_queue_pollers": len(live),
        "approvals_waiting": call.plane.approvals.waiting(call.organization_id, queue["id"]),
        "last_activity_at": max((w["last_heartbeat"] for w in live), default=None),
        "updated_at": now(),
    }


async def executions(call: Call) -> Any:
    status = call.query("status", "all")
    found = call.plane.executions.search(
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
    live, most = len(_live(call, queue)), queue.get("max_workers")
    return {
        "queue_id": queue["id"],
        "command": f"kubiya worker start --queue-id {queue['id']}",
        "command_parts": {"binary": "kubiya", "subcommand": "worker start", "flags": {"--queue-id": queue["id"]}},
        "can_register": queue["status"] == "active" and (most is None or live < most),
        "queue_status": queue["status"],
        "active_workers": live,
        "max_workers": most,
    }


ROUTES: list[Route] = [
    route("POST", "/environments/{environment}/worker-queues", create, 201),
    route("GET", "/environments/{environment}/worker-queues", list_of_environment),
    route("GET", "/worker-queues", list_all),
    route("GET", "/worker-queues/{queue}", get),
    route("PATCH", "/worker-queues/{queue}", update),
    route("DELETE", "/worker-queues/{queue}", delete),
    route("GET", "/worker-queues/{queue}/config", config),
    route("GET", "/worker-queues/{queue}/workers", workers),
    route("GET", "/worker-queues/{queue}/metrics", metrics),
    route("GET", "/worker-queues/{queue}/executions", executions),
    route("GET", "/worker-queues/{queue}/worker-command", worker_command),
]
