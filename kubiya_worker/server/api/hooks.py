"""This module serves hooks: their definitions, their last deliveries, and tries with samples."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from typing import Any

from starlette.routing import Route

from kubiya_worker.server.api import deletion, hook_runs
from kubiya_worker.server.api.agents import AGENT, TEAM, store_of
from kubiya_worker.server.api.queues import queue_of
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import hooks as edges
from kubiya_worker.server.hooks import decision, proofs, samples, senders
from kubiya_worker.server.hooks.alert import BadShape
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object


def hook_of(call: Call) -> Object:
    """Return a hook by id or name, or answer 404."""
    hook = call.plane.stores.hooks.find(call.organization_id, call.path("hook"))
    if hook is None:
        raise not_found("Hook", call.path("hook"))
    return hook


def entity_named(call: Call, fields: Object) -> Object:
    """Return {entity_type, entity_id} of the agent or the team that a request names; answer 422 for both or none."""
    named = {kind: fields[kind] for kind in (AGENT, TEAM) if fields.get(kind)}
    if len(named) != 1:
        raise invalid("agent", "A hook is for one agent or one team: set agent or team", "missing")
    ((kind, name),) = named.items()
    entity = store_of(call, kind).find(call.organization_id, name)
    if entity is None or not call.person.scope.has_agent(entity["id"]):
        raise invalid(kind, f"There is no {kind} {name!r}")
    return {"entity_type": kind, "entity_id": entity["id"]}


def _checked(call: Call, hook: Object) -> Object:
    """Return the hook; answer 422 for what does not fit together, with the field."""
    if hook["queue"]:
        queue_of(call, hook["queue"])
    try:
        proofs.complete(hook["proof"], hook["source"])
    except proofs.BadProof as error:
        raise invalid(f"proof.{error.field}", str(error)) from error
    for name, pattern in hook["match"].items():
        if not isinstance(pattern, str):
            raise invalid("match", f"match.{name} is a text in which * stands for anything", "string_type")
    if hook["wait_for_resolved"] and hook["resolved"] == decision.DROP:
        raise invalid("wait_for_resolved", "resolved: drop tells no run that its alert ended, so none can wait for it")
    _check_reply(hook["reply"] or {}, hook["source"])
    return hook


def _check_reply(reply: Object, source: str) -> None:
    """Answer 422 for a reply that cannot be sent, and for a field that its kind does not use."""
    kind = reply.get("kind")
    taken = {
        "webhook": ("url", "headers", "template", "secret", "private_networks"),
        "github": ("url", "token", "template", "private_networks"),
        "grafana": ("url", "token", "template", "private_networks"),
    }
    needed = {"webhook": ("url",), "github": ("token",), "grafana": ("url", "token")}
    if kind is None:
        return
    for name in reply.keys() - {"kind", *taken[kind]}:
        raise invalid(f"reply.{name}", f"a reply of the kind {kind} has no {name}: it takes {', '.join(taken[kind])}")
    for name in needed[kind]:
        if not reply.get(name):
            raise invalid(f"reply.{name}", f"a reply of the kind {kind} needs {name}", "missing")
    if kind == "github" and source not in ("github", "gitea", "forgejo"):
        raise invalid("reply.kind", f"github comments on the issue of an alert; the source {source} has no issues")
    if kind == "github" and source != "github" and not reply.get("url"):
        raise invalid("reply.url", f"{source} runs at its own address: set url to that of its API", "missing")


def _fields(call: Call, hook: Object) -> Object:
    """Return the fields that the request changes, with the agent or team by its id."""
    fields = dict(call.fields)
    named: Object = {kind: fields.pop(kind) for kind in (AGENT, TEAM) if kind in fields}
    if named or not hook.get("entity_id"):
        fields |= entity_named(call, named)
    return fields


def shown(call: Call, hook: Object) -> Object:
    entity = store_of(call, hook["entity_type"]).find(call.organization_id, hook["entity_id"])
    path = f"/hooks/{hook['name']}"
    newest = call.plane.stores.hooks.deliveries(hook["id"], 1)
    return {
        **hook,
        hook["entity_type"]: entity["name"] if entity else None,
        "url_path": path,
        "url": str(call.request.base_url).rstrip("/") + path,
        "last_verdict": newest[0]["verdict"] if newest else None,
        "last_delivery_at": moment(newest[0]["taken_at"]) if newest else None,
    }


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


async def create(call: Call) -> Any:
    hook = definitions.new_hook({})
    fields = _fields(call, hook)
    name = fields.pop("name")
    hook = _checked(call, {**hook, **fields, "owner": call.person.requester()})
    return shown(call, call.plane.stores.hooks.create(call.organization_id, name, hook))


async def list_all(call: Call) -> Any:
    return [shown(call, hook) for hook in page(call, call.plane.stores.hooks.list(call.organization_id))]


async def get(call: Call) -> Any:
    return shown(call, hook_of(call))


async def update(call: Call) -> Any:
    """Change a hook. Who changes it asks for what it does from then on."""
    hook = hook_of(call)
    changes = {**_fields(call, hook), "owner": call.person.requester()}
    _checked(call, {**hook, **changes})
    return shown(call, call.plane.stores.hooks.update(hook, changes))


async def delete(call: Call) -> Any:
    """Delete a hook, its deliveries, and answers that were not sent; its executions stay."""
    hook = hook_of(call)
    return deletion.delete(
        call, "hook", hook, lambda needs: [], functools.partial(call.plane.stores.hooks.delete, hook)
    )


async def deliveries(call: Call) -> Any:
    """List the last deliveries, newest first: verdict, reason, execution, the alert, the body as it came."""
    hook, wanted = hook_of(call), call.filters(edges.DeliveryFilters)
    stored = call.plane.stores.hooks.deliveries(hook["id"], wanted.limit, wanted.verdict)
    return [
        {
            **{name: value for name, value in each.items() if name not in ("taken_at", "answer")},
            "taken_at": moment(each["taken_at"]),
            "reply": call.plane.stores.replies.of(each["execution_id"]) if each["execution_id"] else None,
        }
        for each in stored
    ]


async def test(call: Call) -> Any:
    """Say what the hook would make of a delivery, and start it only if asked. The proof is not needed here."""
    hook, fields = hook_of(call), call.fields
    body, headers = fields.get("body"), {k.lower(): v for k, v in (fields.get("headers") or {}).items()}
    if "body" in fields and "sample" in fields:
        raise invalid("sample", "A try has a sample or a body: give one of them")
    if body is None:
        sample = samples.SAMPLES[fields.get("sample") or hook["source"]]
        body, headers = sample.body, {**sample.headers, **headers}
    try:
        alert = senders.read(hook["source"], body, headers)
    except BadShape as error:
        raise ApiError(422, f"The source {hook['source']} does not send this: {error}") from error
    if fields.get("start"):
        return hook_runs.take(call, hook, alert, time.time(), {"test": True})
    verdict = hook_runs.judge(call.plane, hook, alert, time.time())
    return {
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "alert": {name: value for name, value in alert.values().items() if name != "raw"},
        "prompt": hook_runs.prompt_of(hook, alert),
    }


ROUTES: list[Route] = [
    Edge("GET", "/hooks", list_all, query=filters.Page),
    Edge("POST", "/hooks", create, 201, body=edges.NewHook, audit="hook.create"),
    Edge("GET", "/hooks/{hook}", get),
    Edge("PATCH", "/hooks/{hook}", update, body=edges.HookPatch, audit="hook.update"),
    Edge("DELETE", "/hooks/{hook}", delete, query=filters.Deletion, audit="hook.delete"),
    Edge("GET", "/hooks/{hook}/deliveries", deliveries, query=edges.DeliveryFilters),
    Edge("POST", "/hooks/{hook}/test", test, body=edges.HookTest, audit="hook.run"),
]
