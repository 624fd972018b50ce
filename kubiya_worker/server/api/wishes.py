"""This module takes what people wish of a worker: that it drains, takes work again, or is started again.

The worker learns it with the answer to its next heartbeat, and its heartbeats say what it does about it.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import wishes as edges
from kubiya_worker.server.refusals import ApiError, not_found

UNDRAIN: Final = "undrain"
CANNOT: Final = {
    names.WISH_DRAIN: "This worker does not take wishes: drain it where it runs, with 'kubiya worker drain'",
    names.WISH_RESTART: "Nothing would start this worker again: restart it where it runs",
}


def _live(call: Call) -> dict[str, Any]:
    """Return the live worker in the path; answer 404 for one that is unknown, gone, or out of the key's reach."""
    worker = call.plane.stores.workers.find(call.organization_id, call.path("worker"))
    if worker is None or not call.person.scope.has_queue(worker["queue_id"]):
        raise not_found("Worker", call.path("worker"))
    return worker


def _wish(call: Call, verb: str) -> Any:
    """Store the wish with who has it, when and why, and return the worker as it is now."""
    worker, reason = _live(call), (call.fields.get("reason") or "").strip()
    wanted = None
    if verb == UNDRAIN:
        if (worker["wish"] or {}).get("action") != names.WISH_DRAIN:
            raise ApiError(409, "Nobody has asked this worker to drain")
    else:
        if verb not in worker["worker_metadata"].get("wishes", ()):
            raise ApiError(409, CANNOT[verb])
        by = call.person.contact()
        wanted = {"id": str(uuid.uuid4()), "action": verb, "by": by, "reason": reason, "at": now()}
        if verb == names.WISH_RESTART:  # a drained worker stays drained
            wish = worker["wish"] or {}
            wanted["after"] = wish if wish.get("action") == names.WISH_DRAIN else wish.get("after")
    call.plane.stores.workers.wish(call.organization_id, worker["id"], wanted, verb, reason)
    return _live(call)


async def drain(call: Call) -> Any:
    """Ask a worker to take no work; it finishes what runs, and stays."""
    return _wish(call, names.WISH_DRAIN)


async def undrain(call: Call) -> Any:
    """Ask a worker that was to drain to take work again."""
    return _wish(call, UNDRAIN)


async def restart(call: Call) -> Any:
    """Ask a worker to stop within its grace period; what supervises it starts it again."""
    return _wish(call, names.WISH_RESTART)


ROUTES: list[Route] = [
    Edge("POST", "/workers/{worker}/drain", drain, body=edges.NewWish, audit="worker.drain"),
    Edge("POST", "/workers/{worker}/restart", restart, body=edges.NewWish, audit="worker.restart"),
    Edge("POST", "/workers/{worker}/undrain", undrain, body=edges.NewWish, audit="worker.undrain"),
]
