"""This module serves environments (docs/protocol.md#a9); `default` is created by itself."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from kubiya_worker.server.http import ApiError, Call, invalid, not_found, route
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object

DEFAULT = "default"


def environment_of(call: Call, key: str | None = None) -> Object:
    """Return an environment by id or name, or answer 404."""
    key = key if key is not None else call.path("environment")
    found = call.plane.environments.find(call.organization_id, key)
    if found is None and key == DEFAULT:
        return call.plane.environments.create(call.organization_id, DEFAULT, definitions.new_environment({}))
    if found is None:
        raise not_found("Environment", key)
    return found


def name_of(call: Call, environment_id: str) -> str:
    found = call.plane.environments.find(call.organization_id, environment_id)
    return str(found["name"]) if found else DEFAULT


def check_environment(given: Object) -> None:
    """Answer 422 for an `execution_environment` that could not be resolved."""
    fault = definitions.fault_of_environment(given.get("execution_environment") or {})
    if fault:
        raise invalid("execution_environment", fault, "dict_type")


def _fields(call: Call) -> Object:
    given = call.fields(definitions.ENVIRONMENT_FIELDS)
    check_environment(given)
    if "name" in given:
        given["name"] = call.name()
    return given


async def list_all(call: Call) -> Any:
    environment_of(call, DEFAULT)
    return call.plane.environments.list(call.organization_id)


async def create(call: Call) -> Any:
    environment = definitions.new_environment(_fields(call))
    return call.plane.environments.create(call.organization_id, call.name(), environment)


async def get(call: Call) -> Any:
    return environment_of(call)


async def update(call: Call) -> Any:
    return call.plane.environments.update(environment_of(call), _fields(call))


async def delete(call: Call) -> Any:
    environment = environment_of(call)
    if environment["name"] == DEFAULT:
        raise ApiError(400, "The environment 'default' cannot be deleted")
    if any(q["environment_id"] == environment["id"] for q in call.plane.queues.list(call.organization_id)):
        raise ApiError(400, f"The environment {environment['name']!r} has worker queues; delete them first")
    call.plane.environments.delete(environment["id"])


ROUTES: list[Route] = [
    route("GET", "/environments", list_all),
    route("POST", "/environments", create, 201),
    route("GET", "/environments/{environment}", get),
    route("PATCH", "/environments/{environment}", update),
    route("DELETE", "/environments/{environment}", delete),
]
