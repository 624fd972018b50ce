"""This module serves API keys: make one for a person or a worker, list them, revoke them. A key is shown once."""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.server.api.queues import queue_of
from kubiya_worker.server.auth import hashed, key_id_of
from kubiya_worker.server.edges import keys as edges
from kubiya_worker.server.http import ApiError, Call, not_found, route
from kubiya_worker.server.person import ADMIN

DAY: Final = 86_400  # seconds


async def list_all(call: Call) -> Any:
    """List the keys, also revoked and expired ones; no answer but that of POST ever holds a key."""
    return call.plane.keys.list(call.organization_id)


async def create(call: Call) -> Any:
    """Make a key and return it as `key`, this once."""
    given = call.given
    queues, agents = given.get("queues"), given.get("agents")
    about = {
        "name": given["name"],
        "email": given.get("email") or "",
        "role": given["role"],
        "groups": given.get("groups") or [],
        "scopes": {
            "queues": queues and sorted({queue_of(call, name)["id"] for name in queues}),
            "agents": agents and sorted({_entity_id(call, name) for name in agents}),
        },
        "created_by": call.person.contact(),
    }
    days = given.get("expires_in_days")
    ends = time.time() + days * DAY if days else None
    key = call.plane.keys.create(call.organization_id, about=about, expires_at=ends)
    shown = call.plane.keys.find(call.organization_id, key_id_of(hashed(key)))
    return {**(shown or {}), "key": key}


def _entity_id(call: Call, name: str) -> str:
    for store in (call.plane.agents, call.plane.teams):
        found = store.find(call.organization_id, name)
        if found is not None:
            return str(found["id"])
    raise not_found("Agent or team", name)


async def revoke(call: Call) -> Any:
    """Revoke a key: its next request is refused. The last key of an admin cannot be revoked."""
    keys = call.plane.keys.list(call.organization_id)
    key = next((each for each in keys if each["id"] == call.path("key")), None)
    if key is None:
        raise not_found("Key", call.path("key"))
    admins = [k["id"] for k in keys if k["role"] == ADMIN and k["status"] == "active" and not any(k["scopes"].values())]
    if admins == [key["id"]]:
        raise ApiError(409, "This is the last key of an admin: nobody could make a new one. Make another admin's first")
    call.plane.keys.revoke(call.organization_id, key["id"])
    return call.plane.keys.find(call.organization_id, key["id"])


ROUTES: list[Route] = [
    route("GET", "/keys", list_all),
    route("POST", "/keys", create, 201, body=edges.NewKey, audit="key.create"),
    route("DELETE", "/keys/{key}", revoke, audit="key.revoke"),
]
