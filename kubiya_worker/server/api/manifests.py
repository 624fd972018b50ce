"""This module serves definitions as documents {kind, name, spec}: all of a request hold, or none.

A document is the whole definition: a field that its spec does not name has its default value. What was applied is kept
as versions, so that a definition can go back to one of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker import definition_text
from kubiya_worker.server import definition_reference, definition_spec
from kubiya_worker.server.api import definition_changes
from kubiya_worker.server.api import stored_definitions as objects
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import manifests as edges
from kubiya_worker.server.edges.problems import Problem, problem
from kubiya_worker.server.inputs import read, set_in
from kubiya_worker.server.refusals import ApiError, not_found
from kubiya_worker.server.store.records import Object

SOURCE: Final = "default"  # the name of a set of documents


class _DryRun(Exception):
    """Ends the transaction, so that nothing of it is stored."""


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
    """Return the length of a notification's chain of `then`. Shorter ones are made first, as longer ones name them."""
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


async def apply(call: Call) -> Any:
    """Make the stored definitions as the documents say, in one transaction; return each change and what differs."""
    fields = call.fields
    documents, source = _checked(fields["documents"]), fields.get("source") or SOURCE
    changes: list[Object] = []
    problems: list[Problem] = []
    try:
        with call.plane.database.transaction():
            for document in documents:
                try:
                    change = definition_changes.put(
                        call, document, definition_changes.source_of(call, document, source)
                    )
                    changes.append({**change, "document": document["number"]})
                except ApiError as error:  # the others are looked at too, so that a person mends all at once
                    problems += _at(document["number"], error).detail
            if problems:
                raise ApiError(422, problems)
            if fields.get("prune"):
                changes += _pruned(call, {(each["kind"], each["name"]) for each in documents}, source)
            if fields.get("dry_run"):
                raise _DryRun
            counts = Counter(each["action"] for each in changes)
            tally = ", ".join(f"{counts[action]} {action}" for action in definition_changes.ACTIONS if counts[action])
            if len(changes) > counts[definition_changes.UNCHANGED]:
                definition_changes.record(call, source, "apply", tally)
    except _DryRun:
        changes = [{k: v for k, v in each.items() if k not in ("webhook_url", "webhook_secret")} for each in changes]
    return {"changes": changes, "dry_run": bool(fields.get("dry_run"))}


def _pruned(call: Call, kept: set[tuple[str, str]], source: str) -> list[Object]:
    """Delete what this source has made and does not name any more; what refers to others goes first."""
    gone = []
    for kind in reversed(edges.KINDS):
        # Of one kind, what came later may name what came before.
        for record in reversed(list(objects.objects_of(call, kind))):
            if record.get(definition_changes.APPLIED_FROM) == source and (kind, record["name"]) not in kept:
                gone.append(definition_changes.remove(call, kind, record))
    return gone


async def export(call: Call) -> Any:
    """Return the stored definitions as documents, those that others refer to first."""
    wanted = call.filters(filters.DefinitionFilters)
    kinds = [objects.kind_of(wanted.kind)] if wanted.kind else edges.KINDS
    documents = [
        {"kind": kind, "name": record["name"], "spec": objects.spec_of(call, kind, record)}
        for kind in kinds
        for record in objects.objects_of(call, kind)
    ]
    return {"documents": documents}


async def schema(call: Call) -> Any:
    """Return the JSON schema of a document: what `kubiya init --schema` prints, and the page's forms are made of."""
    return definition_reference.schema()


async def read_text(call: Call) -> Any:
    """Return the documents of a text, with the line of each value by its path; answer 422 with the line of a fault."""
    text = call.fields["text"]
    try:  # in a thread: reading 200 kB takes seconds, in which nobody else would be answered
        documents = await asyncio.to_thread(lambda: list(definition_text.documents("text", text)))
    except definition_text.TextFault as fault:
        raise ApiError(422, [problem(["body", "text", fault.line], fault.text, "value_error")]) from fault
    return {
        "documents": [
            {**each.body, "lines": {".".join(map(str, path)): line for path, line in each.lines.items() if path}}
            for each in documents
        ]
    }


async def write_text(call: Call) -> Any:
    """Return documents as YAML."""
    return {"text": await asyncio.to_thread(definition_text.dump, call.fields["documents"])}


async def get(call: Call) -> Any:
    kind, record = objects.object_of(call)
    return {"kind": kind, "name": record["name"], "spec": objects.spec_of(call, kind, record)}


async def delete(call: Call) -> Any:
    kind, record = objects.object_of(call)
    with call.plane.database.transaction():
        change = definition_changes.remove(call, kind, record, call.filters(filters.Deletion).force)
        definition_changes.record(call, f"{kind}/{record['name']}", "delete")
    return change


async def history(call: Call) -> Any:
    """Return the versions of a definition, newest first, each with what differs from the one before it."""
    kind, name = objects.kind_of(call.path("kind")), call.path("name")
    current = objects.named(call, kind, name)
    versions = call.plane.stores.versions.list(call.organization_id, kind, name)
    if not versions and current is None:
        raise not_found(kind, name)
    if current is not None:
        spec = objects.spec_of(call, kind, current)
        if not versions or versions[0]["spec"] != spec:
            unsaved = {
                "version": None,
                "action": definition_changes.EDITED,
                "spec": spec,
                "by": {},
                "at": current["updated_at"],
            }
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
    kind, name, wanted = objects.kind_of(call.path("kind")), call.path("name"), call.fields["version"]
    versions = call.plane.stores.versions.list(call.organization_id, kind, name)
    version = next((each for each in versions if each["version"] == wanted), None)
    if version is None:
        listed = ", ".join(str(each["version"]) for each in versions[:20]) or "none"
        raise ApiError(404, f"The {kind} {name!r} has no version {wanted}; there are: {listed}")
    if version["spec"] is None:
        raise ApiError(400, f"In version {wanted} the {kind} {name!r} was deleted; choose one before it")
    current = objects.named(call, kind, name)
    source = (current or {}).get(definition_changes.APPLIED_FROM) or SOURCE
    document = _checked([{"kind": kind, "name": name, "spec": version["spec"]}])[0]
    try:
        with call.plane.database.transaction():
            change = definition_changes.put(call, document, source)
            definition_changes.record(call, f"{kind}/{name}", "rollback", f"to version {wanted}")
    except ApiError as error:
        raise _at(0, error) from error
    return change


ROUTES: list[Route] = [
    Edge("POST", "/definitions/apply", apply, body=edges.Apply, audit="definition.apply"),
    Edge("GET", "/definitions/schema", schema),
    Edge("POST", "/definitions/read", read_text, body=edges.DefinitionText),
    Edge("POST", "/definitions/write", write_text, body=edges.Documents),
    Edge("GET", "/definitions", export, query=filters.DefinitionFilters),
    Edge("GET", "/definitions/{kind}/{name}", get),
    Edge("DELETE", "/definitions/{kind}/{name}", delete, query=filters.Deletion, audit="definition.delete"),
    Edge("GET", "/definitions/{kind}/{name}/history", history),
    Edge(
        "POST",
        "/definitions/{kind}/{name}/rollback",
        rollback,
        body=edges.Rollback,
        audit="definition.rollback",
    ),
]
