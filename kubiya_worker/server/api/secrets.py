"""This module serves secrets: set, list, remove for people, who never get a value; values for workers at their use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.server import references, shared_parts, trial_tokens
from kubiya_worker.server.api import shared_parts as parts
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import secrets as edges
from kubiya_worker.server.person import LOCAL, WORKER
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.store.records import Object

log = EventLogger(__name__)

ABSENT: Final = "there is no secret with this name"
NOT_REFERENCED: Final = "no definition of this execution references it"


def definitions(plane: Plane, organization_id: str) -> Iterator[tuple[str, Object]]:
    """Yield (kind, definition) of all that can reference a secret."""
    stores = plane.stores
    kinds = {
        "environment": stores.environments,
        "agent": stores.agents,
        "team": stores.teams,
        "job": stores.jobs,
    }
    kinds["notification"] = stores.notifications
    kinds["hook"] = stores.hooks
    kinds[shared_parts.SKILL] = stores.skills
    for server in stores.mcp_servers.list(organization_id):
        settings = {server["name"]: shared_parts.settings_of(server)}
        yield shared_parts.SERVER, {"id": server["id"], "name": server["name"], "mcp_servers": settings}
    for kind, store in kinds.items():
        yield from ((kind, one) for one in store.list(organization_id))


def _users(call: Call, name: str) -> list[dict[str, str]]:
    """Return {kind, id, name} of the definitions, and of the unfinished executions, that use a secret."""
    plane, organization = call.plane, call.organization_id
    running = [
        {"kind": "execution", "id": row["id"], "name": str(row["entity_name"])}
        for row in plane.stores.executions.unfinished(organization)
        if name in references.secrets_in(plane.stores.executions.own(row["id"]))
    ]
    return [*references.users_of(name, definitions(plane, organization)), *running]


async def list_all(call: Call) -> Any:
    """List the secrets: who set them, when a worker got them last, and which definitions use them."""
    known = list(definitions(call.plane, call.organization_id))
    secrets = call.plane.stores.secrets.list(call.organization_id)
    return [{**one, "used_by": references.users_of(one["name"], known)} for one in page(call, secrets)]


async def put(call: Call) -> Any:
    """Set a secret's value, or the external source that has it, in place of what was there."""
    name, fields = call.path("secret"), call.fields
    try:
        edges.check_name(name)
    except ValueError as error:
        raise invalid("secret", str(error)) from error
    if ("value" in fields) == ("source" in fields):
        raise invalid("value", "A secret has a value or a source: give one of them", "missing")
    try:
        if "source" in fields:
            call.plane.sources.check(fields["source"])
        by = call.person.contact()
        stored = call.plane.stores.secrets.set(
            call.organization_id, name, by, value=fields.get("value"), source=fields.get("source")
        )
    except ConfigurationError as error:
        if "source" in fields:
            raise invalid("source", error.line()) from error
        raise
    return {**stored, "used_by": _users(call, name)}


async def delete(call: Call) -> Any:
    """Delete a secret; answer 409 with the list of what uses it."""
    name = call.path("secret")
    if call.plane.stores.secrets.find(call.organization_id, name) is None:
        raise not_found("Secret", name)
    users = _users(call, name)
    if users:
        users_shown = ", ".join(f"{user['kind']} {user['name']}" for user in users[:20])
        raise ApiError(
            409, f"The secret {name} is used by {users_shown}. Take {{{{.secret.{name}}}}} out of them first"
        )
    call.plane.stores.secrets.delete(call.organization_id, name)


async def resolve(call: Call) -> Any:
    """Return the values that a worker needs for one execution now: {values, missing: name -> why}.

    Only a worker gets them: with a worker's key, or the local user's; alive; for an execution that is not over; and
    only secrets that the entity's definition, its environments or the execution itself reference.
    """
    fields, plane, organization = call.fields, call.plane, call.organization_id
    if call.person.role != WORKER and call.person.id != LOCAL.id:
        raise ApiError(403, "Only workers get values of secrets: give the worker a key of the role worker")
    worker = next((w for w in plane.stores.workers.live(organization) if w["id"] == fields["worker_id"]), None)
    if worker is None or not call.person.scope.has_queue(worker["queue_id"]):
        raise not_found("Live worker", fields["worker_id"])
    tried = trial_tokens.subject_of(plane.seal, organization, fields["execution_id"])
    if tried is not None:
        allowed = _of_trial(call, *tried) if tried == (fields["kind"], fields["entity_id"]) else set()
    else:
        execution = plane.stores.executions.get(organization, fields["execution_id"])
        if execution is None:
            raise not_found("Execution", fields["execution_id"])
        if ex.is_final(execution["status"]):
            raise ApiError(409, f"The execution is {execution['status']} and needs no secrets")
        allowed = _referenced(call, execution, fields["kind"], fields["entity_id"])
    values: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in dict.fromkeys(fields["names"]):
        if name not in allowed:
            missing[name] = NOT_REFERENCED
            continue
        try:
            stored_value = plane.stores.secrets.value(organization, name)
            if stored_value is None:
                missing[name] = ABSENT
                continue
            value, source = stored_value
            values[name] = value if value is not None else await asyncio.to_thread(plane.sources.read, str(source))
        except WorkerError as error:
            log.warning("secret.unavailable", name=name, error=error.line())
            missing[name] = error.message
    if values:
        plane.stores.secrets.used(organization, values)
    return {"values": values, "missing": missing}


def _referenced(call: Call, execution: Object, kind: str, key: str) -> set[str]:
    """Return the secrets that an entity may use in an execution; none for an entity that has no part in it."""
    plane, organization = call.plane, call.organization_id

    def find(kind: str, key: str) -> Object | None:
        entity = (plane.stores.agents if kind == "agent" else plane.stores.teams).find(organization, key)
        return parts.whole(call, entity) if entity is not None else None

    own = plane.stores.executions.own(execution["id"])
    wanted = references.secrets_in(own)
    top_kind = str(execution["execution_type"])
    top = find(top_kind, execution["entity_id"]) if top_kind in ("agent", "team") else None
    # A dynamic entity is stored nowhere: what it was given is in the execution's own part.
    top = top or {"id": execution["entity_id"], "configuration": own.get("configuration") or {}, "skills": []}
    known = definitions(plane, organization)
    everybody = [(k, parts.whole(call, one)) for k, one in known if k in ("agent", "team")]
    entity = next(
        (one for one in references.taking_part(top_kind, top, find, everybody) if key == str(one["id"])), None
    )
    if entity is None:
        return wanted if key.partition(".")[0] == execution["entity_id"] else set()  # a subagent: ID.NAME
    return wanted | _of_entity(call, entity)


def _of_trial(call: Call, kind: str, key: str) -> set[str]:
    """Return the secrets that an agent, a team, an environment or a stored MCP server references, for a test of it."""
    plane, organization = call.plane, call.organization_id
    if kind == names.TRIAL_KINDS[-1]:
        server = plane.stores.mcp_servers.find(organization, key)
        return references.secrets_in({"mcp_servers": shared_parts.settings_of(server)}) if server else set()
    store = {"agent": plane.stores.agents, "team": plane.stores.teams, "environment": plane.stores.environments}[kind]
    entity = store.find(organization, key)
    return _of_entity(call, parts.whole(call, entity)) if entity is not None else set()


def _of_entity(call: Call, entity: Object) -> set[str]:
    """Return the secrets that an agent or a team references, and the environments that it has.

    The entity has what it names in the place of its references, so secrets of a shared skill or server count too.
    """
    wanted = set[str]()
    ids = entity.get("environment_ids") or ()
    attached = [call.plane.stores.environments.find(call.organization_id, str(one)) for one in ids]
    for source in (entity, *(parts.whole(call, one) for one in attached if one)):
        wanted |= references.secrets_in(source)
    return wanted


ROUTES: list[Route] = [
    Edge("GET", "/secrets", list_all, query=filters.Page),
    Edge("POST", "/secrets/resolve", resolve, body=edges.SecretsWanted),
    Edge("PUT", "/secrets/{secret}", put, body=edges.SecretSet, audit="secret.set"),
    Edge("DELETE", "/secrets/{secret}", delete, audit="secret.delete"),
]
