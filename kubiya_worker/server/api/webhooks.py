"""This module serves the webhooks of jobs; a caller has no key, and proves by a signature that it has the secret."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubiya_worker.server.api import jobs
from kubiya_worker.server.http import ApiError, Call, answered, parsed, received, unauthorized
from kubiya_worker.server.plane import Plane

# Headers in which senders number their deliveries: a repeated delivery starts nothing again.
DELIVERY: Final = ("x-github-delivery", "x-gitlab-event-uuid", "idempotency-key")
EVENT: Final = ("x-github-event", "x-gitlab-event")


async def webhook(request: Request) -> Response:
    plane: Plane = request.app.state.plane

    async def answer() -> Any:
        raw = await received(request)
        hook = plane.jobs.webhook(path=request.path_params["path"])
        if hook is None or not hook.signed(raw, request.headers):
            return unauthorized(
                "No webhook is here that this request is signed for",
                "Sign the body with the webhook's secret: HMAC-SHA256 in X-Webhook-Signature or X-Hub-Signature-256, "
                "or the secret itself in X-Gitlab-Token",
            )
        call = Call(request, plane, hook.organization_id, {})
        job = plane.jobs.find(hook.organization_id, hook.job_id)
        if job is None:
            raise ApiError(404, "The job of this webhook is gone")
        about = {"delivery": _first(request, DELIVERY), "event": _first(request, EVENT)}
        about = {key: value for key, value in about.items() if value}
        return jobs.run(call, job, jobs.WEBHOOK, parsed(raw), {}, about)

    return await answered(request, answer, 200)


def _first(request: Request, headers: tuple[str, ...]) -> str | None:
    found = (request.headers.get(name) for name in headers)
    return next((value[:200] for value in found if value), None)


ROUTES: list[Route] = [Route("/api/v1/jobs/webhook/{path}", webhook, methods=["POST"])]
