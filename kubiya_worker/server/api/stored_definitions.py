"""This module stands between documents {kind, name, spec} and the stored objects of each kind.

It finds an object, and says which fields a spec gives it and which spec it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kubiya_worker.server import definition_spec
from kubiya_worker.server.api import agents, environments, hooks, queues, secret_documents, shared_parts, stored_models
from kubiya_worker.server.api.secret_documents import SecretObjects
from kubiya_worker.server.call import Call
from kubiya_worker.server.edges import manifests as edges
from kubiya_worker.server.edges.problems import problem
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.store.records import Object, Records


def store_of(call: Call, kind: str) -> Records | SecretObjects:
    stores = call.plane.stores
    if kind == secret_documents.KIND:
        return SecretObjects(stores.secrets)
    parts = (
        stores.skills,
        stores.mcp_servers,
        stores.environments,
        stores.queues,
        stores.models,
    )
    kept = (
        *parts,
        stores.agents,
        stores.teams,
        stores.rules,
        stores.jobs,
        stores.notifications,
        stores.hooks,
    )
    return dict(zip(edges.KINDS[1:], kept, strict=True))[kind]


def kind_of(word: str) -> str:
    """Return the kind that a path names, in any case and also in the plural; answer 404 for another word."""
    plain = word.lower().replace("-", "").replace("_", "")
    for kind in edges.KINDS:
        if plain in (kind.lower(), f"{kind.lower()}s"):
            return kind
    raise ApiError(404, f"There is no kind {word[:60]!r}; there are {', '.join(edges.KINDS)}")


def named(call: Call, kind: str, name: str) -> Object | None:
    definition = store_of(call, kind).find(call.organization_id, name)
    return definition if definition is not None and definition["name"] == name else None


def object_of(call: Call) -> tuple[str, Object]:
    kind, name = kind_of(call.path("kind")), call.path("name")
    definition = store_of(call, kind).find(call.organization_id, name)
    if definition is None:
        raise not_found(kind, name)
    return kind, definition


def _entity(call: Call, spec: Object) -> Object:
    """Return {entity_type, entity_id} of a job's agent or team."""
    named = {kind: spec[kind] for kind in (agents.AGENT, agents.TEAM) if spec.get(kind)}
    if len(named) != 1:
        raise invalid("agent", "A job is for one agent or one team: set agent or team, to its name", "missing")
    ((kind, name),) = named.items()
    entity = agents.store_of(call, kind).find(call.organization_id, name)
    if entity is None:
        raise invalid(kind, f"There is no {kind} {name!r}")
    return {"entity_type": kind, "entity_id": entity["id"]}


def _check_members(call: Call, configuration: Object) -> None:
    """Answer 422 for a member or a leader that does not exist."""
    for field in ("member_ids", "leader_id"):
        members = configuration.get(field)
        for each in members if isinstance(members, list) else [members] if members else []:
            if call.plane.stores.agents.find(call.organization_id, str(each)) is None:
                text = f"{field}: there is no agent {str(each)!r}"
                raise ApiError(422, [problem(["body", "configuration", field], text, "value_error")])


def _check_environments(call: Call, spec: Object) -> None:
    for each in spec.get("environment_ids") or ():
        if call.plane.stores.environments.find(call.organization_id, each) is None:
            raise invalid("environment_ids", f"There is no environment {each!r}")


def _id_in(call: Call, store: Records) -> Callable[[str], str]:
    def find(key: str) -> str:
        definition = store.find(call.organization_id, str(key))
        return str(definition["id"]) if definition else str(key)

    return find


def _name_in(call: Call, store: Records) -> Callable[[str], str]:
    def find(key: str) -> str:
        definition = store.find(call.organization_id, str(key))
        return str(definition["name"]) if definition else str(key)

    return find


def wanted(call: Call, kind: str, spec: Object) -> Object:
    """Return the fields that the object gets, each with its value; answer 422 for a reference to nothing."""
    if kind == "Team":
        _check_members(call, spec.get("configuration") or {})
    _check_environments(call, spec)
    if kind in ("Agent", "Team", "Environment"):
        shared_parts.check(call, spec)
    fields = definition_spec.record_of(
        kind, spec, _id_in(call, call.plane.stores.agents), _id_in(call, call.plane.stores.environments)
    )
    if kind == "Queue":
        name = spec.get("environment") or environments.DEFAULT
        if name != environments.DEFAULT and call.plane.stores.environments.find(call.organization_id, name) is None:
            raise invalid("environment", f"There is no environment {name!r}")
        fields["environment_id"] = environments.environment_of(call, name)["id"]
    if kind == "Model":
        fields["queues"] = stored_models.queue_ids(call, spec.get("queues"))
    if kind == "Job":
        fields |= _entity(call, spec)
    if kind == "Hook":
        fields |= hooks.entity_named(call, spec)
    return fields


def body_of(kind: str, spec: Object, fields: Object) -> Object:
    """Return the body of the object's own route for a spec, with ids in place of names."""
    named = {name: value for name, value in spec.items() if name not in edges.REFERENCES}
    body = {name: fields.get(name, value) for name, value in named.items()}
    if kind == "Job":
        body |= {name: fields[name] for name in ("entity_type", "entity_id", "trigger_type", "executor_type")}
    if kind == "Hook":
        body[fields["entity_type"]] = fields["entity_id"]
    return body


def spec_of(call: Call, kind: str, record: Object) -> Object:
    plane = call.plane
    if kind == secret_documents.KIND:
        return secret_documents.spec_of(record)
    spec = definition_spec.spec_of(
        kind, record, _name_in(call, plane.stores.agents), _name_in(call, plane.stores.environments)
    )
    if kind == "Queue":
        name = environments.name_of(call, record["environment_id"])
        return {**spec, "environment": name} if name != environments.DEFAULT else spec
    if kind == "Model" and record["queues"]:
        return {**spec, "queues": stored_models.queue_names(call, record["queues"])}
    if kind in ("Job", "Hook"):
        entity = agents.store_of(call, record["entity_type"]).find(call.organization_id, record["entity_id"])
        return {**spec, record["entity_type"]: entity["name"] if entity else record["entity_id"]}
    return spec


def objects_of(call: Call, kind: str) -> Iterator[Object]:
    for record in store_of(call, kind).list(call.organization_id):
        if kind != "Queue" or not queues.hidden(record):
            yield record
