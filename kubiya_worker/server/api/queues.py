"""This module serves worker queues (docs/protocol.md#a3); every path takes a queue's id or its name."""

from __future__ import annotations

import functools
import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.routing import Route

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now
from kubiya_worker.protocol.messages import canonical
from kubiya_worker.server.api import deletion, execution_lists, stored_models
from kubiya_worker.server.api.environments import environment_of, name_of
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import definitions as edges
from kubiya_worker.server.edges import filters
from kubiya_worker.server.person import WORKER
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.execution_search import ExecutionQuery
from kubiya_worker.server.store.records import Object

CONFIG_KEYS = ("name", "status", "max_workers", "heartbeat_interval", "tags", "settings")


def queue_of(call: Call, key: str | None = None) -> Object:
    """Return a queue by id or name, or answer 404."""
    key = key if key is not None else call.path("queue")
    queue = call.plane.stores.queues.find(call.organization_id, key)
    if queue is None or not call.person.scope.has_queue(queue["id"]):
        raise not_found("Worker queue", key)
    return queue


def queues_of(call: Call) -> list[Object]:
    """Return the queues that the caller's key reaches."""
    return [q for q in call.plane.stores.queues.list(call.organization_id) if call.person.scope.has_queue(q["id"])]


def hidden(queue: Object) -> bool:
    """Return whether a queue belongs to one run (`kubiya exec --local`): it is not listed, and gets no other work."""
    return bool(queue.get("ephemeral"))


def _live(call: Call, queue: Object) -> list[dict[str, Any]]:
    return call.plane.stores.workers.live(call.organization_id, queue["id"])


def _shown(call: Call, queue: Object) -> Object:
    return {**queue, "active_workers": len(_live(call, queue)), "task_queue_name": queue["id"]}


async def list_all(call: Call) -> Any:
    return [_shown(call, q) for q in page(call, [q for q in queues_of(call) if not hidden(q)])]


async def list_of_environment(call: Call) -> Any:
    environment = environment_of(call)
    here = [q for q in queues_of(call) if q["environment_id"] == environment["id"] and not hidden(q)]
    return [_shown(call, q) for q in page(call, here)]


async def create(call: Call) -> Any:
    environment, fields = environment_of(call), dict(call.fields)
    named = fields.pop("environment_id", environment["id"])
    if named not in (environment["id"], environment["name"]):
        raise invalid("environment_id", "environment_id is another one than in the path")
    queue = definitions.new_queue(fields, environment["id"])
    return _shown(call, call.plane.stores.queues.create(call.organization_id, fields["name"], queue))


async def get(call: Call) -> Any:
    return _shown(call, queue_of(call))


async def update(call: Call) -> Any:
    return _shown(call, call.plane.stores.queues.update(queue_of(call), call.fields))


async def delete(call: Call) -> Any:
    queue = queue_of(call)
    if call.person.role == WORKER and not hidden(queue):
        raise ApiError(403, "A worker's key deletes no queue but the one of a single run")
    if queue["name"] == "default":
        raise ApiError(400, "The queue 'default' cannot be deleted")
    remove = functools.partial(call.plane.stores.queues.delete, queue)
    if hidden(queue):  # `kubiya exec --local` deletes it while its worker and its execution end
        return remove()
    return deletion.delete(call, "queue", queue, lambda needs: needs.of_queue(queue), remove)


async def config(call: Call) -> Any:
    """Return what the queue's workers read when they start, with the models that are stored for it."""
    queue = queue_of(call)
    queue = {**queue, "settings": stored_models.settings_of(call, queue)}
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
    recent = call.plane.stores.executions.counts(
        call.organization_id, queue["id"], (datetime.now(UTC) - timedelta(days=1)).isoformat()
    )
    completed, failed = recent.get(ex.COMPLETED, 0), recent.get(ex.FAILED, 0)
    return {
        "queue_id": queue["id"],
        "active_workers": len(live),
        "idle_workers": len(live) - busy,
        "busy_workers": busy,
        "total_workers": len(live),
        "tasks_processed_24h": completed + failed,
        "tasks_failed_24h": failed,
        "tasks_pending": recent.get(ex.PENDING, 0),
        "avg_task_duration_ms": None,
        "error_rate_percent": round(100 * failed / max(1, completed + failed), 2),
        "last_error_at": None,
        "task_queue_backlog": recent.get(ex.PENDING, 0),
        "task_queue_pollers": len(live),
        "approvals_waiting": call.plane.stores.approvals.waiting(call.organization_id, queue["id"]),
        "last_activity_at": max((w["last_heartbeat"] for w in live), default=None),
        "updated_at": now(),
    }


async def executions(call: Call) -> Any:
    wanted = call.filters(filters.QueueExecutionFilters)
    statuses = filters.statuses_of(wanted.status)
    query = ExecutionQuery(
        call.organization_id, statuses=statuses, queue_id=queue_of(call)["id"], scope=call.person.scope
    )
    runs = await execution_lists.part(call, query, 0, wanted.limit)
    keys = ("id", "status", "entity_id", "entity_name", "execution_type", "created_at", "started_at", "completed_at")
    return [
        {
            **{k: e.get(k) for k in keys},
            "prompt": str(e.get("prompt") or "")[:200],
            "temporal_workflow_id": names.workflow_id(e["execution_type"], e["id"]),
        }
        for e in runs
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
    Edge("POST", "/environments/{environment}/worker-queues", create, 201, body=edges.NewQueue, audit="queue.create"),
    Edge("GET", "/environments/{environment}/worker-queues", list_of_environment, query=filters.Page),
    Edge("GET", "/worker-queues", list_all, query=filters.Page),
    Edge("GET", "/worker-queues/{queue}", get),
    Edge("PATCH", "/worker-queues/{queue}", update, body=edges.QueuePatch, audit="queue.update"),
    Edge("DELETE", "/worker-queues/{queue}", delete, query=filters.Deletion, audit="queue.delete"),
    Edge("GET", "/worker-queues/{queue}/config", config),
    Edge("GET", "/worker-queues/{queue}/workers", workers),
    Edge("GET", "/worker-queues/{queue}/metrics", metrics),
    Edge("GET", "/worker-queues/{queue}/executions", executions, query=filters.QueueExecutionFilters),
    Edge("GET", "/worker-queues/{queue}/worker-command", worker_command),
]
