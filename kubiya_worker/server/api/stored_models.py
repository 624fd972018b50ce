"""This module serves stored models, which workers of queues get as entries of their lists.

They are in the paths by id or name. The published `/models` lists what a person can choose; these are definitions.
A worker reads the list of its queue when it starts.
"""

from __future__ import annotations

import functools
from typing import Any

from starlette.routing import Route

from kubiya_worker import credentials, templates
from kubiya_worker.protocol import model_entries
from kubiya_worker.protocol.model_entries import HEADER_VARIABLES
from kubiya_worker.server import stored_models
from kubiya_worker.server.api import deletion
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.definition_users import naming_model, shown_users
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import models as edges
from kubiya_worker.server.edges.problems import problem
from kubiya_worker.server.open_credentials import in_fields
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object

_EXTRAS = ("extra_body", "extra_headers", "compatibility")


def model_of(call: Call) -> Object:
    """Return the model of the path, or answer 404."""
    model = call.plane.stores.models.find(call.organization_id, call.path("model"))
    if model is None:
        raise not_found("Stored model", call.path("model"))
    return model


def settings_of(call: Call, queue: Object) -> Object:
    """Return the settings that a queue's workers get, with the models that are stored for it."""
    return stored_models.settings_with(queue, call.plane.stores.models.list(call.organization_id))


def queue_ids(call: Call, keys: list[str] | None) -> list[str]:
    """Return the ids of queues that are named; answer 422 for one that is not there."""
    ids = []
    for number, key in enumerate(keys or ()):
        queue = call.plane.stores.queues.find(call.organization_id, key)
        if queue is None:
            known = ", ".join(each["name"] for each in call.plane.stores.queues.list(call.organization_id)[:20])
            text = f"There is no queue {key!r}; there are: {known}"
            raise ApiError(422, [problem(["body", "queues", number], text, "value_error")])
        ids.append(queue["id"])
    return list(dict.fromkeys(ids))


def queue_names(call: Call, ids: list[str]) -> list[str]:
    """Return the names of queues; one that is gone stays as its id."""
    names = {queue["id"]: queue["name"] for queue in call.plane.stores.queues.list(call.organization_id)}
    return [names.get(each, each) for each in ids]


def _check(model: Object) -> None:
    """Answer 422 for a model that no worker could reach, or that holds a credential."""
    fault = model_entries.fault_of(model, credentials.in_header)
    if fault:
        raise invalid(*fault)
    extras = {name: model.get(name) for name in _EXTRAS}
    if templates.secrets_in(extras):
        field = next(name for name in _EXTRAS if templates.secrets_in(extras[name]))
        text = "a model takes no secret of the control plane, as it holds for all runs of a queue: export"
        raise invalid(field, f"{text} {HEADER_VARIABLES}NAME on the workers, and write ${{{HEADER_VARIABLES}NAME}}")
    inside = model.get("compatibility") or {}
    bodies = {"extra_body": model.get("extra_body"), "compatibility": {"extra_body": inside.get("extra_body")}}
    for credential in in_fields(bodies, "model"):
        text = f"A credential in the open. Export {HEADER_VARIABLES}NAME on the workers, and send it in extra_headers"
        where = ["body", *credential.place]
        raise ApiError(422, [problem(where, f"{text} as ${{{HEADER_VARIABLES}NAME}}", "value_error")])


def _fields(call: Call) -> Object:
    """Return the fields that the body sets, with the ids of queues."""
    fields = dict(call.fields)
    if "queues" in fields:
        fields["queues"] = queue_ids(call, fields["queues"])
    return fields


def _shown(call: Call, model: Object) -> Object:
    """Return a model with who names it, and the queues whose own list has the name, which wins there."""
    queues = [q for q in call.plane.stores.queues.list(call.organization_id) if stored_models.reaches(model, q["id"])]
    return {
        **model,
        "queues": queue_names(call, model["queues"]) or None,
        "used_by": shown_users(naming_model(call.plane.stores, call.organization_id, model["name"])),
        "hidden_in": [q["name"] for q in queues if model["name"] in stored_models.names_of_list(q)],
    }


async def list_all(call: Call) -> Any:
    """List the stored models, each with who names it (used_by {kind, id, name}) and the queues that have their own."""
    return [_shown(call, each) for each in page(call, call.plane.stores.models.list(call.organization_id))]


async def create(call: Call) -> Any:
    model = definitions.new_model(_fields(call))
    _check(model)
    return _shown(call, call.plane.stores.models.create(call.organization_id, call.fields["name"], model))


async def get(call: Call) -> Any:
    return _shown(call, model_of(call))


async def update(call: Call) -> Any:
    model, fields = model_of(call), _fields(call)
    _check({**model, **fields})
    return _shown(call, call.plane.stores.models.update(model, fields))


async def delete(call: Call) -> Any:
    """Delete it; one that agents, teams or jobs name is refused with their list (409).

    With force they go on naming it: a worker may have a model of this name itself.
    """
    model = model_of(call)
    remove = functools.partial(call.plane.stores.models.delete, model)
    return deletion.delete(call, stored_models.KIND, model, lambda needs: needs.of_model(model), remove)


ROUTES: list[Route] = [
    Edge("GET", "/stored-models", list_all, query=filters.Page),
    Edge("POST", "/stored-models", create, 201, body=edges.NewModel, audit="model.create"),
    Edge("GET", "/stored-models/{model}", get),
    Edge("PATCH", "/stored-models/{model}", update, body=edges.ModelPatch, audit="model.update"),
    Edge("DELETE", "/stored-models/{model}", delete, query=filters.Deletion, audit="model.delete"),
]
