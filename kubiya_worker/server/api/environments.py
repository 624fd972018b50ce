"""This module serves environments (docs/protocol.md#a9); `default` is created by itself."""

from __future__ import annotations

import functools
from typing import Any

from starlette.routing import Route

from kubiya_worker.server.api import deletion, shared_parts
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import definitions as edges
from kubiya_worker.server.edges import filters
from kubiya_worker.server.refusals import ApiError, not_found
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object

DEFAULT = "default"


def environment_of(call: Call, key: str | None = None) -> Object:
    """Return an environment by id or name, or answer 404."""
    key = key if key is not None else call.path("environment")
    environment = call.plane.stores.environments.find(call.organization_id, key)
    if environment is None and key == DEFAULT:
        return call.plane.stores.environments.create(call.organization_id, DEFAULT, definitions.new_environment({}))
    if environment is None:
        raise not_found("Environment", key)
    return environment


def name_of(call: Call, environment_id: str) -> str:
    environment = call.plane.stores.environments.find(call.organization_id, environment_id)
    return str(environment["name"]) if environment else DEFAULT


async def list_all(call: Call) -> Any:
    environment_of(call, DEFAULT)
    return page(call, call.plane.stores.environments.list(call.organization_id))


async def create(call: Call) -> Any:
    shared_parts.check(call, call.fields)
    environment = definitions.new_environment(call.fields)
    return call.plane.stores.environments.create(call.organization_id, call.fields["name"], environment)


async def get(call: Call) -> Any:
    return environment_of(call)


async def update(call: Call) -> Any:
    shared_parts.check(call, call.fields)
    return call.plane.stores.environments.update(environment_of(call), call.fields)


async def delete(call: Call) -> Any:
    environment = environment_of(call)
    if environment["name"] == DEFAULT:
        raise ApiError(400, "The environment 'default' cannot be deleted")
    remove = functools.partial(call.plane.stores.environments.delete, environment)
    return deletion.delete(call, "environment", environment, lambda needs: needs.of_environment(environment), remove)


ROUTES: list[Route] = [
    Edge("GET", "/environments", list_all, query=filters.Page),
    Edge("POST", "/environments", create, 201, body=edges.NewEnvironment, audit="environment.create"),
    Edge("GET", "/environments/{environment}", get),
    Edge("PATCH", "/environments/{environment}", update, body=edges.EnvironmentPatch, audit="environment.update"),
    Edge("DELETE", "/environments/{environment}", delete, query=filters.Deletion, audit="environment.delete"),
]
