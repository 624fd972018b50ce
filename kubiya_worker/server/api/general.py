"""This module serves health, the caller's identity, models and runtimes (docs/protocol.md#a1, #a2, #a9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now
from kubiya_worker.protocol.model_entries import STORED
from kubiya_worker.server.call import Call
from kubiya_worker.server.callers import caller_of, is_local
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.metrics import exposition
from kubiya_worker.server.refusals import not_found
from kubiya_worker.server.responses import reply, unauthorized

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

SERVICE = "agent-control-plane"


async def health(request: Request) -> Response:
    """Answer that this process lives."""
    return reply({"status": "healthy", "service": SERVICE, "timestamp": now(), "services": {}})


async def ready(request: Request) -> Response:
    """Answer whether executions can run, which needs Temporal."""
    temporal = request.app.state.plane.temporal
    if await temporal.ready():
        return reply({"status": "ready", "timestamp": now()})
    reason = temporal.why or f"Temporal at {temporal.access.address} does not answer"
    return reply({"status": "not_ready", "reason": reason, "timestamp": now()}, 503)


async def detailed(request: Request) -> Response:
    plane: Plane = request.app.state.plane
    temporal = await plane.temporal.ready()
    parts = {"api": "healthy", "database": "healthy", "temporal": "healthy" if temporal else "unreachable"}
    try:
        plane.database.execute(text("select 1 from alembic_version"))
    except DatabaseError:
        parts["database"] = "failed"
    good = set(parts.values()) == {"healthy"}
    return reply({"status": "healthy" if good else "degraded", "service": SERVICE, "timestamp": now(), **parts})


async def metrics(request: Request) -> Response:
    """Return counts of all organizations: to programs of this host, and to any key."""
    plane: Plane = request.app.state.plane
    if not is_local(request) and caller_of(request) is None:
        return unauthorized()
    try:
        figures = await exposition(plane)
    except DatabaseError as error:
        return reply({"detail": f"The database cannot be used: {error.orig}"}, 503)
    return PlainTextResponse(figures, media_type="text/plain; version=0.0.4")


async def validate(call: Call) -> Any:
    return {
        "id": call.organization_id,
        "name": call.organization_id,
        "slug": call.organization_id,
        "user_id": call.person.id,
        "user_email": call.person.email,
        "user_name": call.person.name,
        "role": call.person.role,
        "groups": list(call.person.groups),
        "key": call.plane.stores.keys.about(call.person.key_id),
    }


async def client_config(call: Call) -> Any:
    organization = {"organization_id": call.organization_id, "organization_name": call.organization_id}
    return {"context_graph_api_base": None, **organization}


def _model(model_id: str, label: str, provider: str, *, recommended: bool) -> dict[str, Any]:
    return {
        "id": model_id,
        "value": model_id,
        "label": label,
        "provider": provider,
        "model_type": "text-generation",
        "logo": None,
        "description": None,
        "enabled": True,
        "recommended": recommended,
        "compatible_runtimes": ["default"],
        "capabilities": {},
        "pricing": {},
        "display_order": 0,
    }


def _models(call: Call) -> list[dict[str, Any]]:
    """Return the models, the default first and the stored ones last.

    The default is the gateway's model where there is a gateway, else the offline model.
    """
    gateway = bool(call.plane.gateway.url)
    demo = _model(names.DEMO_MODEL, "demo model, not an LLM", "demo", recommended=not gateway)
    hosted = _model(names.DEFAULT_MODEL, names.DEFAULT_MODEL, "gateway", recommended=gateway)
    stored = [
        {**_model(each["name"], each["name"], STORED, recommended=False), "description": each["description"]}
        for each in call.plane.stores.models.list(call.organization_id)
    ]
    return [*([hosted, demo] if gateway else [demo, hosted]), *stored]


async def models(call: Call) -> Any:
    wanted = call.filters(filters.ModelFilters)
    return [
        model
        for model in _models(call)
        if wanted.provider in ("", model["provider"])
        and (not wanted.runtime or wanted.runtime in model["compatible_runtimes"])
        and wanted.type in ("", model["model_type"])
    ]


async def default_model(call: Call) -> Any:
    return _models(call)[0]


async def model(call: Call) -> Any:
    match = next((m for m in _models(call) if m["id"] == call.path("model")), None)
    if match is None:
        raise not_found("Model", call.path("model"))
    return match


async def runtimes(call: Call) -> Any:
    return [{"id": "default", "name": "default", "description": "The durable agent loop"}]


ROUTES: list[Route] = [
    Route("/health", health),
    Route("/api/health", health),
    Route("/api/health/detailed", detailed),
    Route("/api/ready", ready),
    Route("/metrics", metrics),
    Edge("GET", "/auth/validate", validate),
    Edge("GET", "/client/config", client_config),
    Edge("GET", "/models", models, query=filters.ModelFilters),
    Edge("GET", "/models/default", default_model),
    Edge("GET", "/models/{model:path}", model),
    Edge("GET", "/runtimes", runtimes),
]
