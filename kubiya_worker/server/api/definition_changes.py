"""This module makes a stored object as one document says, or deletes it, and keeps a version of each change.

It does so by the routes of the object's own kind, so that their checks and their rights hold here too.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from kubiya_worker.server import definition_spec
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
    shared_parts,
    stored_models,
)
from kubiya_worker.server.api import stored_definitions as objects
from kubiya_worker.server.api.batch import within
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.records import Object

APPLIED_FROM: Final = "applied_from"  # the field of a stored object that names its set
CREATED: Final = "created"
CHANGED: Final = "changed"
UNCHANGED: Final = "unchanged"
DELETED: Final = "deleted"
ACTIONS: Final = (CREATED, CHANGED, DELETED, UNCHANGED)
EDITED: Final = "edited elsewhere"  # the action of a version that no document has made

_PATHS: Final = {
    "Secret": "/secrets",
    "Skill": "/skills",
    "MCPServer": "/mcp-servers",
    "Environment": "/environments",
    "Queue": "/worker-queues",
    "Model": "/stored-models",
    "Agent": "/agents",
    "Team": "/teams",
    "Rule": "/approval-rules",
    "Job": "/jobs",
    "Notification": "/notifications",
    "Hook": "/hooks",
}
_EDGES: Final = [
    each
    for resource in (
        secrets,
        shared_parts,
        environments,
        queues,
        stored_models,
        agents,
        rules,
        jobs,
        notifications,
        hooks,
    )
    for each in resource.ROUTES
    if isinstance(each, Edge) and each.method in ("POST", "PATCH", "PUT", "DELETE")
]


# Nobody needs the first two, and what uses a secret is changed first.
_NO_FORCE: Final = ("Job", "Notification", secret_documents.KIND)


def _check_base(call: Call, document: Object, current: Object | None) -> None:
    """Answer 409 when the definition is not the one that the change began from any more, with what differs."""
    base = document.get("base")
    if base is None:
        return
    stored = None if current is None else objects.spec_of(call, document["kind"], current)
    if stored == base:
        return
    places = [each["path"] for each in definition_spec.differences(base, stored)]
    change = "was deleted" if stored is None else f"was changed in {', '.join(places[:10])}"
    raise ApiError(409, f"The {document['kind']} {document['name']!r} {change} since this text was read. Edit it again")


def source_of(call: Call, document: Object, source: str) -> str:
    """Return the set of documents that the object is of: one that is edited stays in its set, or in none."""
    if document.get("base") is None:
        return source
    current = objects.named(call, document["kind"], document["name"])
    return str((current or {}).get(APPLIED_FROM) or "")


def put(call: Call, document: Object, source: str) -> Object:
    """Make the object as the document says. Return the change, with what a new webhook is answered with."""
    kind, name, spec = document["kind"], document["name"], document["spec"]
    store, current = objects.store_of(call, kind), objects.named(call, kind, name)
    if kind == secret_documents.KIND:
        return _put_secret(call, document, source, current)
    fields = objects.wanted(call, kind, spec)
    change = {"kind": kind, "name": name}
    _check_base(call, document, current)
    if current is None:
        collection = _PATHS[kind]
        if kind == "Queue":
            collection = f"/environments/{fields['environment_id']}/worker-queues"
        created = within(call, _EDGES, "POST", collection, {**objects.body_of(kind, spec, fields), "name": name})
        stored = store.find(call.organization_id, created["id"])
        assert stored is not None
        store.update(stored, {APPLIED_FROM: source})
        shown = {k: created[k] for k in ("webhook_url", "webhook_secret") if created.get(k)}
        after = objects.spec_of(call, kind, stored)
        _keep(call, kind, name, CREATED, after)
        return {**change, "action": CREATED, "differences": definition_spec.differences(None, after), **shown}
    before = objects.spec_of(call, kind, current)
    _keep_edited(call, kind, name, before)
    fields = definition_spec.keep_ids(fields, current)
    if all(current.get(field) == value for field, value in fields.items()) and "webhook_secret" not in spec:
        if (current.get(APPLIED_FROM) or "") != source:
            store.update(current, {APPLIED_FROM: source})
        return {**change, "action": UNCHANGED, "differences": []}
    changed = store.update(current, {**fields, APPLIED_FROM: source})
    method = "PUT" if kind == "Rule" else "PATCH"
    shown = within(call, _EDGES, method, f"{_PATHS[kind]}/{changed['id']}", objects.body_of(kind, spec, fields))
    after = objects.spec_of(call, kind, store.find(call.organization_id, changed["id"]) or changed)
    _keep(call, kind, name, CHANGED, after)
    webhook = {k: shown[k] for k in ("webhook_url", "webhook_secret") if shown.get("webhook_secret")}
    return {**change, "action": CHANGED, "differences": definition_spec.differences(before, after), **webhook}


def _put_secret(call: Call, document: Object, source: str, current: Object | None) -> Object:
    """Set a secret as the document says, if it is not so already. Return the change, which shows no value."""
    kind, name, spec = document["kind"], document["name"], document["spec"]
    _check_base(call, document, current)
    fields = secret_documents.wanted(call, name, spec)
    before = None if current is None else objects.spec_of(call, kind, current)
    if fields:
        within(call, _EDGES, "PUT", f"/secrets/{quote(name, safe='')}", fields)
    stored = objects.named(call, kind, name)
    assert stored is not None
    if (stored.get(APPLIED_FROM) or "") != source:
        objects.store_of(call, kind).update(stored, {APPLIED_FROM: source})
    action = CREATED if current is None else CHANGED if fields else UNCHANGED
    after = objects.spec_of(call, kind, stored)
    if fields:
        _keep(call, kind, name, action, after)
    plain = definition_spec.differences(before, after)
    return {
        "kind": kind,
        "name": name,
        "action": action,
        "differences": secret_documents.differences(fields, plain) if fields else [],
    }


def remove(call: Call, kind: str, record: Object, force: bool = False) -> Object:
    before = objects.spec_of(call, kind, record)
    _keep_edited(call, kind, record["name"], before)
    path = f"{_PATHS[kind]}/{quote(record['id'], safe='')}"
    query = filters.Deletion(force=True) if force and kind not in _NO_FORCE else None
    ended = (within(call, _EDGES, "DELETE", path, {}, query) or {}).get("ended")
    _keep(call, kind, record["name"], DELETED, None)
    gone = {"kind": kind, "name": record["name"], "action": DELETED, **({"ended": ended} if ended else {})}
    return {**gone, "differences": definition_spec.differences(before, None)}


def _keep(call: Call, kind: str, name: str, action: str, spec: Object | None) -> None:
    person = call.person
    by = {"id": person.id, "name": person.name, "email": person.email}
    call.plane.stores.versions.add(call.organization_id, kind, name, action, spec, by)


def _keep_edited(call: Call, kind: str, name: str, spec: Object) -> None:
    """Keep the state before a change when no document has made it, so that one can go back to it."""
    newest = call.plane.stores.versions.newest(call.organization_id, kind, name)
    if newest is None or newest["spec"] != spec:
        call.plane.stores.versions.add(call.organization_id, kind, name, EDITED, spec, {})


def record(call: Call, name: str, verb: str, detail: str = "") -> None:
    """Put into the audit record that the changes beside it were made by documents."""
    about = {"detail": detail} if detail else {}
    call.plane.database.changed(Change(call.organization_id, "definition", name, name, verb=verb, about=about))
