"""This module serves definitions as documents {kind, name, spec}: all of a request hold, or none.

A document is the whole definition: a field that its spec does not name has its default value. What was applied is kept
as versions, so that a definition can go back to one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

from starlette.routing import Route

from kubiya_worker import definition_text
from kubiya_worker.server import definition_reference, definition_spec
from kubiya_worker.server.api import (
    agents,
    environments,
    hooks,
    jobs,
    notifications,
    queues,
    rules,
    secret_documents,
    secrets,
)
from kubiya_worker.server.api.batch import within
from kubiya_worker.server.api.secret_documents import SecretObjects
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import manifests as edges
from kubiya_worker.server.edges.problems import Problem, problem
from kubiya_worker.server.http import ApiError, Call, Edge, invalid, not_found, read, route, set_in
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.records import Object, Records

SOURCE: Final = "default"  # the name of a set of documents
APPLIED_FROM: Final = "applied_from"  # the field of a stored object that names its set
CREATED: Final = "created"
CHANGED: Final = "changed"
UNCHANGED: Final = "unchanged"
DELETED: Final = "deleted"
ACTIONS: Final = (CREATED, CHANGED, DELETED, UNCHANGED)
EDITED: Final = "edited elsewhere"  # the action of a version that no document has made

_PATHS: Final = {
    "Secret": "/secrets",
    "Environment": "/environments",
    "Queue": "/worker-queues",
    "Agent": "/agents",
    "Team": "/teams",
    "Rule": "/approval-rules",
    "Job": "/jobs",
    "Notification": "/notifications",
    "Hook": "/hooks",
}
_EDGES: Final = [
    each
    for resource in (secrets, environments, queues, agents, rules, jobs, notifications, hooks)
    for each in resource.ROUTES
    if isinstance(each, Edge) and each.method in ("POST", "PATCH", "PUT", "DELETE")
]


# Nobody needs the first two, and what uses a secret is changed first.
_NO_FORCE: Final = ("Job", "Notification", secret_documents.KIND)


class _DryRun(Exception):
    """Ends the transaction, so that nothing of it is stored."""


def _store(call: Call, kind: str) -> Records | SecretObjects:
    plane = call.plane
    if kind == secret_documents.KIND:
        return SecretObjects(plane.secrets)
    entities = (plane.environments, plane.queues, plane.agents, plane.teams)
    stores = (*entities, plane.rules, plane.jobs, plane.notifications, plane.hooks)
    return dict(zip(edges.KINDS[1:], stores, strict=True))[kind]


def _kind_of(word: str) -> str:
    """Return the kind that a path names, in any case and also in the plural; answer 404 for another word."""
    for kind in edges.KINDS:
        if word.lower() in (kind.lower(), f"{kind.lower()}s"):
            return kind
    raise ApiError(404, f"There is no kind {word[:60]!r}; there are {', '.join(edges.KINDS)}")


def _named(call: Call, kind: str, name: str) -> Object | None:
    found = _store(call, kind).find(call.organization_id, name)
    return found if found is not None and found["name"] == name else None


def _object_of(call: Call) -> tuple[str, Object]:
    kind, name = _kind_of(call.path("kind")), call.path("name")
    found = _store(call, kind).find(call.organization_id, name)
    if found is None:
        raise not_found(kind, name)
    return kind, found


# -- from documents to objects


def _checked(documents: list[Object]) -> list[Object]:
    """Return the documents with their specs as the models take them; answer 422 with every problem of all of them."""
    problems: list[Problem] = []
    seen: set[tuple[str, str]] = set()
    checked = []
    for number, document in enumerate(documents):
        kind, name, place = document["kind"], document["name"], ("body", "documents", number)
        if (kind, name) in seen:
            problems.append(problem([*place, "name"], f"The {kind} {name!r} is there twice", "value_error"))
        seen.add((kind, name))
        try:
            spec = set_in(read(edges.SPECS[kind], document.get("spec") or {}, (*place, "spec")))
            checked.append({"kind": kind, "name": name, "spec": spec, "base": document.get("base"), "number": number})
        except ApiError as error:
            problems += error.detail
    if problems:
        raise ApiError(422, problems)
    return sorted(checked, key=lambda each: (edges.KINDS.index(each["kind"]), _hops(each, checked)))


def _hops(document: Object, documents: list[Object]) -> int:
    """Return how many of the documents a notification leads to by `then`: those that it names come first."""
    by_name = {each["name"]: each for each in documents if each["kind"] == "Notification"}
    current, seen = document, set[str]()
    while current["kind"] == "Notification" and current["name"] not in seen:
        seen.add(current["name"])
        current = by_name.get((current["spec"].get("then") or {}).get("notification"), {"kind": "", "spec": {}})
    return len(seen)


def _at(number: int, error: ApiError) -> ApiError:
    """Return the refusal of a document's own request as one about the document, with its place in this request."""
    place: list[str | int] = ["body", "documents", number]
    if error.status == 422 and isinstance(error.detail, list):
        return ApiError(422, [{**each, "loc": [*place, "spec", *each["loc"][1:]]} for each in error.detail])
    return ApiError(422, [problem(place, str(error.detail), "value_error")])


def _entity(call: Call, spec: Object) -> Object:
    """Return {entity_type, entity_id} of a job's agent or team."""
    named = {kind: spec[kind] for kind in (agents.AGENT, agents.TEAM) if spec.get(kind)}
    if len(named) != 1:
        raise invalid("agent", "A job is for one agent or one team: set agent or team, to its name", "missing")
    ((kind, name),) = named.items()
    found = agents.store_of(call, kind).find(call.organization_id, name)
    if found is None:
        raise invalid(kind, f"There is no {kind} {name!r}")
    return {"entity_type": kind, "entity_id": found["id"]}


def _check_members(call: Call, configuration: Object) -> None:
    """Answer 422 for a member or a leader that does not exist."""
    for field in ("member_ids", "leader_id"):
        given = configuration.get(field)
        for each in given if isinstance(given, list) else [given] if given else []:
            if call.plane.agents.find(call.organization_id, str(each)) is None:
                text = f"{field}: there is no agent {str(each)!r}"
                raise ApiError(422, [problem(["body", "configuration", field], text, "value_error")])


def _check_environments(call: Call, spec: Object) -> None:
    for each in spec.get("environment_ids") or ():
        if call.plane.environments.find(call.organization_id, each) is None:
            raise invalid("environment_ids", f"There is no environment {each!r}")


def _id_in(call: Call, store: Records) -> Callable[[str], str]:
    def find(key: str) -> str:
        found = store.find(call.organization_id, str(key))
        return str(found["id"]) if found else str(key)

    return find


def _name_in(call: Call, store: Records) -> Callable[[str], str]:
    def find(key: str) -> str:
        found = store.find(call.organization_id, str(key))
        return str(found["name"]) if found else str(key)

    return find


def _wanted(call: Call, kind: str, spec: Object) -> Object:
    """Return the fields that the object gets, each with its value; answer 422 for a reference to nothing."""
    if kind == "Team":
        _check_members(call, spec.get("configuration") or {})
    _check_environments(call, spec)
    fields = definition_spec.record_of(
        kind, spec, _id_in(call, call.plane.agents), _id_in(call, call.plane.environments)
    )
    if kind == "Queue":
        name = spec.get("environment") or environments.DEFAULT
        if name != environments.DEFAULT and call.plane.environments.find(call.organization_id, name) is None:
            raise invalid("environment", f"There is no environment {name!r}")
        fields["environment_id"] = environments.environment_of(call, name)["id"]
    if kind == "Job":
        fields |= _entity(call, spec)
    if kind == "Hook":
        fields |= hooks.entity_named(call, spec)
    return fields


def _body(kind: str, spec: Object, fields: Object) -> Object:
    """Return the body of the object's own route for a spec, with ids in place of names."""
    named = {name: value for name, value in spec.items() if name not in edges.REFERENCES}
    body = {name: fields.get(name, value) for name, value in named.items()}
    if kind == "Job":
        body |= {name: fields[name] for name in ("entity_type", "entity_id", "trigger_type", "executor_type")}
    if kind == "Hook":
        body[fields["entity_type"]] = fields["entity_id"]
    return body


def _check_base(call: Call, document: Object, current: Object | None) -> None:
    """Answer 409 when the definition is not the one that the change began from any more, with what differs."""
    base = document.get("base")
    if base is None:
        return
    stored = None if current is None else _spec(call, document["kind"], current)
    if stored == base:
        return
    places = [each["path"] for each in definition_spec.differences(base, stored)]
    what = "was deleted" if stored is None else f"was changed in {', '.join(places[:10])}"
    raise ApiError(409, f"The {document['kind']} {document['name']!r} {what} since this text was read. Edit it again")


def _source_of(call: Call, document: Object, source: str) -> str:
    """Return the set of documents that the object is of: one that is edited stays in its set, or in none."""
    if document.get("base") is None:
        return source
    current = _named(call, document["kind"], document["name"])
    return str((current or {}).get(APPLIED_FROM) or "")


def _put(call: Call, document: Object, source: str) -> Object:
    """Make the object as the document says. Return the change, with what a new webhook is answered with."""
    kind, name, spec = document["kind"], document["name"], document["spec"]
    store, current = _store(call, kind), _named(call, kind, name)
    if kind == secret_documents.KIND:
        return _put_secret(call, document, source, current)
    fields = _wanted(call, kind, spec)
    change = {"kind": kind, "name": name}
    _check_base(call, document, current)
    if current is None:
        collection = _PATHS[kind]
        if kind == "Queue":
            collection = f"/environments/{fields['environment_id']}/worker-queues"
        made = within(call, _EDGES, "POST", collection, {**_body(kind, spec, fields), "name": name})
        stored = store.find(call.organization_id, made["id"])
        assert stored is not None
        store.update(stored, {APPLIED_FROM: source})
        shown = {k: made[k] for k in ("webhook_url", "webhook_secret") if made.get(k)}
        after = _spec(call, kind, stored)
        _keep(call, kind, name, CREATED, after)
        return {**change, "action": CREATED, "differences": definition_spec.differences(None, after), **shown}
    before = _spec(call, kind, current)
    _keep_edited(call, kind, name, before)
    fields = definition_spec.keep_ids(fields, current)
    if all(current.get(field) == value for field, value in fields.items()) and "webhook_secret" not in spec:
        if (current.get(APPLIED_FROM) or "") != source:
            store.update(current, {APPLIED_FROM: source})
        return {**change, "action": UNCHANGED, "differences": []}
    changed = store.update(current, {**fields, APPLIED_FROM: source})
    method = "PUT" if kind == "Rule" else "PATCH"
    shown = within(call, _EDGES, method, f"{_PATHS[kind]}/{changed['id']}", _body(kind, spec, fields))
    after = _spec(call, kind, store.find(call.organization_id, changed["id"]) or changed)
    _keep(call, kind, name, CHANGED, after)
    told = {k: shown[k] for k in ("webhook_url", "webhook_secret") if shown.get("webhook_secret")}
    return {**change, "action": CHANGED, "differences": definition_spec.differences(before, after), **told}


def _put_secret(call: Call, document: Object, source: str, current: Object | None) -> Object:
    """Set a secret as the document says, if it is not so already. Return the change, which shows no value."""
    kind, name, spec = document["kind"], document["name"], document["spec"]
    _check_base(call, document, current)
    given = secret_documents.wanted(call, name, spec)
    before = None if current is None else _spec(call, kind, current)
    if given:
        within(call, _EDGES, "PUT", f"/secrets/{quote(name, safe='')}", given)
    stored = _named(call, kind, name)
    assert stored is not None
    if (stored.get(APPLIED_FROM) or "") != source:
        _store(call, kind).update(stored, {APPLIED_FROM: source})
    action = CREATED if current is None else CHANGED if given else UNCHANGED
    after = _spec(call, kind, stored)
    if given:
        _keep(call, kind, name, action, after)
    plain = definition_spec.differences(before, after)
    return {
        "kind": kind,
        "name": name,
        "action": action,
        "differences": secret_documents.differences(given, plain) if given else [],
    }


def _remove(call: Call, kind: str, record: Object, force: bool = False) -> Object:
    before = _spec(call, kind, record)
    _keep_edited(call, kind, record["name"], before)
    path = f"{_PATHS[kind]}/{quote(record['id'], safe='')}"
    query = filters.Deletion(force=True) if force and kind not in _NO_FORCE else None
    ended = (within(call, _EDGES, "DELETE", path, {}, query) or {}).get("ended")
    _keep(call, kind, record["name"], DELETED, None)
    gone = {"kind": kind, "name": record["name"], "action": DELETED, **({"ended": ended} if ended else {})}
    return {**gone, "differences": definition_spec.differences(before, None)}


# -- from objects to documents


def _spec(call: Call, kind: str, record: Object) -> Object:
    plane = call.plane
    if kind == secret_documents.KIND:
        return secret_documents.spec_of(record)
    spec = definition_spec.spec_of(kind, record, _name_in(call, plane.agents), _name_in(call, plane.environments))
    if kind == "Queue":
        name = environments.name_of(call, record["environment_id"])
        return {**spec, "environment": name} if name != environments.DEFAULT else spec
    if kind in ("Job", "Hook"):
        entity = agents.store_of(call, record["entity_type"]).find(call.organization_id, record["entity_id"])
        return {**spec, record["entity_type"]: entity["name"] if entity else record["entity_id"]}
    return spec


def _objects(call: Call, kind: str) -> Iterator[Object]:
    for record in _store(call, kind).list(call.organization_id):
        if kind != "Queue" or not queues.hidden(record):
            yield record


# -- versions


def _keep(call: Call, kind: str, name: str, action: str, spec: Object | None) -> None:
    person = call.person
    by = {"id": person.id, "name": person.name, "email": person.email}
    call.plane.versions.add(call.organization_id, kind, name, action, spec, by)


def _keep_edited(call: Call, kind: str, name: str, spec: Object) -> None:
    """Keep the state before a change when no document has made it, so that one can go back to it."""
    newest = call.plane.versions.newest(call.organization_id, kind, name)
    if newest is None or newest["spec"] != spec:
        call.plane.versions.add(call.organization_id, kind, name, EDITED, spec, {})


def _record(call: Call, name: str, verb: str, detail: str = "") -> None:
    """Put into the audit record that the changes beside it were made by documents."""
    about = {"detail": detail} if detail else {}
    call.plane.database.changed(Change(call.organization_id, "definition", name, name, verb=verb, about=about))


# -- routes


async def apply(call: Call) -> Any:
    """Make the stored definitions as the documents say, in one transaction; return each change and what differs."""
    given = call.given
    documents, source = _checked(given["documents"]), given.get("source") or SOURCE
    changes: list[Object] = []
    problems: list[Problem] = []
    try:
        with call.plane.database.transaction():
            for document in documents:
                try:
                    put = _put(call, document, _source_of(call, document, source))
                    changes.append({**put, "document": document["number"]})
                except ApiError as error:  # the others are looked at too, so that a person mends all at once
                    problems += _at(document["number"], error).detail
            if problems:
                raise ApiError(422, problems)
            if given.get("prune"):
                changes += _pruned(call, {(each["kind"], each["name"]) for each in documents}, source)
            if given.get("dry_run"):
                raise _DryRun
            counts = Counter(each["action"] for each in changes)
            told = ", ".join(f"{counts[action]} {action}" for action in ACTIONS if counts[action])
            if len(changes) > counts[UNCHANGED]:
                _record(call, source, "apply", told)
    except _DryRun:
        changes = [{k: v for k, v in each.items() if k not in ("webhook_url", "webhook_secret")} for each in changes]
    return {"changes": changes, "dry_run": bool(given.get("dry_run"))}


def _pruned(call: Call, kept: set[tuple[str, str]], source: str) -> list[Object]:
    """Delete what this source has made and does not name any more; what refers to others goes first."""
    gone = []
    for kind in reversed(edges.KINDS):
        for record in reversed(list(_objects(call, kind))):  # of one kind, what came later may name what came before
            if record.get(APPLIED_FROM) == source and (kind, record["name"]) not in kept:
                gone.append(_remove(call, kind, record))
    return gone


async def export(call: Call) -> Any:
    """Return the stored definitions as documents, those that others refer to first."""
    wanted = call.filters(filters.DefinitionFilters)
    kinds = [_kind_of(wanted.kind)] if wanted.kind else edges.KINDS
    documents = [
        {"kind": kind, "name": record["name"], "spec": _spec(call, kind, record)}
        for kind in kinds
        for record in _objects(call, kind)
    ]
    return {"documents": documents}


async def schema(call: Call) -> Any:
    """Return the JSON schema of a document: what `kubiya init --schema` prints, and the page's forms are made of."""
    return definition_reference.schema()


async def read_text(call: Call) -> Any:
    """Return the documents of a text, with the line of each value by its path; answer 422 with the line of a fault."""
    try:
        found = list(definition_text.documents("text", call.given["text"]))
    except definition_text.TextFault as fault:
        raise ApiError(422, [problem(["body", "text", fault.line], fault.text, "value_error")]) from fault
    return {
        "documents": [
            {**each.body, "lines": {".".join(map(str, path)): line for path, line in each.lines.items() if path}}
            for each in found
        ]
    }


async def write_text(call: Call) -> Any:
    """Return documents as YAML."""
    return {"text": definition_text.dump(call.given["documents"])}


async def get(call: Call) -> Any:
    kind, record = _object_of(call)
    return {"kind": kind, "name": record["name"], "spec": _spec(call, kind, record)}


async def delete(call: Call) -> Any:
    kind, record = _object_of(call)
    with call.plane.database.transaction():
        change = _remove(call, kind, record, call.filters(filters.Deletion).force)
        _record(call, f"{kind}/{record['name']}", "delete")
    return change


async def history(call: Call) -> Any:
    """Return the versions of a definition, newest first, each with what differs from the one before it."""
    kind, name = _kind_of(call.path("kind")), call.path("name")
    current = _named(call, kind, name)
    versions = call.plane.versions.list(call.organization_id, kind, name)
    if not versions and current is None:
        raise not_found(kind, name)
    if current is not None:
        spec = _spec(call, kind, current)
        if not versions or versions[0]["spec"] != spec:
            unsaved = {"version": None, "action": EDITED, "spec": spec, "by": {}, "at": current["updated_at"]}
            versions = [unsaved, *versions]
    befores = [*(each["spec"] for each in versions[1:]), None]
    return {
        "versions": [
            {**each, "differences": definition_spec.differences(before, each["spec"])}
            for each, before in zip(versions, befores, strict=True)
        ]
    }


async def rollback(call: Call) -> Any:
    """Make a definition as one of its versions was, and return the change."""
    kind, name, wanted = _kind_of(call.path("kind")), call.path("name"), call.given["version"]
    versions = call.plane.versions.list(call.organization_id, kind, name)
    found = next((each for each in versions if each["version"] == wanted), None)
    if found is None:
        listed = ", ".join(str(each["version"]) for each in versions[:20]) or "none"
        raise ApiError(404, f"The {kind} {name!r} has no version {wanted}; there are: {listed}")
    if found["spec"] is None:
        raise ApiError(400, f"In version {wanted} the {kind} {name!r} was deleted; choose one before it")
    current = _named(call, kind, name)
    source = (current or {}).get(APPLIED_FROM) or SOURCE
    document = _checked([{"kind": kind, "name": name, "spec": found["spec"]}])[0]
    try:
        with call.plane.database.transaction():
            change = _put(call, document, source)
            _record(call, f"{kind}/{name}", "rollback", f"to version {wanted}")
    except ApiError as error:
        raise _at(0, error) from error
    return change


ROUTES: list[Route] = [
    route("POST", "/definitions/apply", apply, body=edges.Apply, audit="definition.apply"),
    route("GET", "/definitions/schema", schema),
    route("POST", "/definitions/read", read_text, body=edges.DefinitionText),
    route("POST", "/definitions/write", write_text, body=edges.Documents),
    route("GET", "/definitions", export, query=filters.DefinitionFilters),
    route("GET", "/definitions/{kind}/{name}", get),
    route("DELETE", "/definitions/{kind}/{name}", delete, query=filters.Deletion, audit="definition.delete"),
    route("GET", "/definitions/{kind}/{name}/history", history),
    route(
        "POST",
        "/definitions/{kind}/{name}/rollback",
        rollback,
        body=edges.Rollback,
        audit="definition.rollback",
    ),
]
