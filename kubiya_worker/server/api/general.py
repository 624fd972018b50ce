"""Health, who am I, models (PROTOCOL A.1, A.2, A.9)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now
from kubiya_worker.server.http import Call, reply, route

SERVICE = "agent-control-plane"


async def health(request: Request) -> Response:
    return reply({"status": "healthy", "service": SERVICE, "timestamp": now(), "services": {}})


async def ready(request: Request) -> Response:
    """Ready to run executions: Temporal answers."""
    if await request.app.state.plane.temporal.ready():
        return reply({"status": "ready", "timestamp": now()})
    return JSONResponse({"status": "not_ready", "reason": "Temporal does not answer", "timestamp": now()}, 503)


async def validate(call: Call) -> Any:
    return {
        "id": call.organization_id,
        "name": call.organization_id,
        "slug": call.organization_id,
        "user_id": "local",
        "user_email": "local@localhost",
        "user_name": "local user",
    }


async def client_config(call: Call) -> Any:
    return {
        "context_graph_api_base": None,
        "organization_id": call.organization_id,
        "organization_name": call.organization_id,
    }


def _model(model_id: str, label: str, *, recommended: bool) -> dict[str, Any]:
    return {
        "id": model_id,
        "value": model_id,
        "label": label,
        "provider": "demo" if model_id == names.DEMO_MODEL else "gateway",
        "model_type": "text-generation",
        "enabled": True,
        "recommended": recommended,
        "compatible_runtimes": ["default"],
        "capabilities": {},
        "pricing": {},
        "display_order": 0,
    }


DEMO = _model(names.DEMO_MODEL, "demo model, not an LLM", recommended=True)


async def models(call: Call) -> Any:
    return [DEMO, _model(names.DEFAULT_MODEL, names.DEFAULT_MODEL, recommended=False)]


async def default_model(call: Call) -> Any:
    return DEMO


async def runtimes(call: Call) -> Any:
    return [{"id": "default", "name": "default", "description": "The durable agent loop"}]


ROUTES: list[Route] = [
    Route("/health", health),
    Route("/api/health", health),
    Route("/api/ready", ready),
    route("GET", "/auth/validate", validate),
    route("GET", "/client/config", client_config),
    route("GET", "/models", models),
    route("GET", "/models/default", default_model),
    route("GET", "/runtimes", runtimes),
]
