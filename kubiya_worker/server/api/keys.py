"""This module serves API keys: make one for a person or a worker, list, change, revoke them. A key is shown once."""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.server.api.queues import queue_of
from kubiya_worker.server.auth import hashed, key_id_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import keys as edges
from kubiya_worker.server.person import ADMIN, LOCAL
from kubiya_worker.server.refusals import ApiError, not_found
from kubiya_worker.server.store.records import Object

DAY: Final = 86_400  # seconds


async def list_all(call: Call) -> Any:
    """List the keys, also revoked and expired ones; no answer but that of POST ever holds a key."""
    return call.plane.stores.keys.list(call.organization_id)


async def create(call: Call) -> Any:
    """Make a key and return it as `key`, this once."""
    fields = call.fields
    about = {
        "name": fields["name"],
        "email": fields.get("email") or "",
        "role": fields["role"],
        "groups": fields.get("groups") or [],
        "scopes": _scopes(call, fields),
        "created_by": call.person.contact(),
    }
    ends = _ends(fields.get("expires_in_days"))
    key = call.plane.stores.keys.create(call.organization_id, about=about, expires_at=ends)
    shown = call.plane.stores.keys.find(call.organization_id, key_id_of(hashed(key)))
    return {**(shown or {}), "key": key}


def _ends(days: float | None) -> float | None:
    return time.time() + days * DAY if days else None


def _scopes(call: Call, fields: Object) -> Object:
    """Return {queues, agents} of a request, as ids; null is no limit."""
    queues, agents = fields.get("queues"), fields.get("agents")
    return {
        "queues": queues and sorted({queue_of(call, name)["id"] for name in queues}),
        "agents": agents and sorted({_entity_id(call, name) for name in agents}),
    }


def _key_of(call: Call) -> Object:
    key = call.plane.stores.keys.find(call.organization_id, call.path("key"))
    if key is None:
        raise not_found("Key", call.path("key"))
    return key


def _only_admin(call: Call, key: Object) -> bool:
    """Return whether this is the last valid key of an admin without limits."""
    keys = call.plane.stores.keys.list(call.organization_id)
    admins = [k["id"] for k in keys if k["role"] == ADMIN and k["status"] == "active" and not any(k["scopes"].values())]
    return admins == [key["id"]]


async def change(call: Call) -> Any:
    """Change a key's name, groups, limits and end; it stays the same key. The last key of an admin keeps its reach."""
    key, fields = _key_of(call), call.fields
    if key["status"] == "revoked":
        raise ApiError(409, "The key was revoked, which is for good: make another one")
    if key["email"] == LOCAL.email:
        raise ApiError(409, "The key is the local user's, who has no name, groups or limits: make a key of a person")
    if any(fields.get(name) for name in ("queues", "agents", "expires_in_days")) and _only_admin(call, key):
        raise ApiError(409, "This is the last key of an admin: nobody could make a new one. Make another admin's first")
    limits = _scopes(call, fields)
    changes: Object = {name: fields[name] for name in ("name", "groups") if name in fields}
    changes["scopes"] = {**key["scopes"], **{name: limits[name] for name in limits if name in fields}}
    if "expires_in_days" in fields:
        changes["expires_at"] = _ends(fields["expires_in_days"])
    call.plane.stores.keys.change(call.organization_id, key["id"], changes)
    return call.plane.stores.keys.find(call.organization_id, key["id"])


def _entity_id(call: Call, name: str) -> str:
    for store in (call.plane.stores.agents, call.plane.stores.teams):
        entity = store.find(call.organization_id, name)
        if entity is not None:
            return str(entity["id"])
    raise not_found("Agent or team", name)


async def revoke(call: Call) -> Any:
    """Revoke a key: its next request is refused. The last key of an admin cannot be revoked."""
    key = _key_of(call)
    if _only_admin(call, key):
        raise ApiError(409, "This is the last key of an admin: nobody could make a new one. Make another admin's first")
    call.plane.stores.keys.revoke(call.organization_id, key["id"])
    return call.plane.stores.keys.find(call.organization_id, key["id"])


ROUTES: list[Route] = [
    Edge("GET", "/keys", list_all),
    Edge("POST", "/keys", create, 201, body=edges.NewKey, audit="key.create"),
    Edge("PATCH", "/keys/{key}", change, body=edges.KeyPatch, audit="key.update"),
    Edge("DELETE", "/keys/{key}", revoke, audit="key.revoke"),
]
