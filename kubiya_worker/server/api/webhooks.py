"""This module serves the webhooks of jobs; a caller has no key, and proves by a signature that it has the secret."""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubiya_worker.server.actor import acting, of_request
from kubiya_worker.server.api import jobs
from kubiya_worker.server.auth import Caller
from kubiya_worker.server.call import Call
from kubiya_worker.server.callers import address_of
from kubiya_worker.server.person import of_webhook
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.proof import TOLERANCE, proven
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.request_body import parsed, received
from kubiya_worker.server.responses import answered, unauthorized

ASKED: Final = "POST /api/v1/jobs/webhook/{path}"
EVENT: Final = ("x-github-event", "x-gitlab-event")
REFUSED: Final = "No webhook is here that this request is signed for"
HINT: Final = (
    "Sign the body with the webhook's secret: HMAC-SHA256 in X-Webhook-Signature or X-Hub-Signature-256, "
    "or the secret itself in X-Gitlab-Token"
)


async def webhook(request: Request) -> Response:
    plane: Plane = request.app.state.plane

    async def answer() -> Any:
        hook = plane.stores.jobs.webhook(path=request.path_params["path"])
        if hook is None:
            return unauthorized(REFUSED, HINT)
        raw, now = await received(request), time.time()
        proof = proven(plane.stores.jobs.webhook_secret(hook), raw, request.headers)
        if proof is None:
            return unauthorized(REFUSED, HINT)
        if proof.is_late(now):
            return unauthorized(
                f"The signed time of this delivery is more than {TOLERANCE} s from the time here",
                "Sign it with the time of sending, and check the clocks of both hosts",
            )
        known = plane.stores.deliveries.answer(hook.job_id, proof.keys)
        if known is not None:
            return known
        job = plane.stores.jobs.find(hook.organization_id, hook.job_id)
        if job is None:
            raise ApiError(404, "The job of this webhook is gone")
        call = Call(request, plane, Caller(hook.organization_id, of_webhook(job, address_of(request))))
        about = {"delivery": proof.delivery, "event": _first(request, EVENT)}
        about = {key: value for key, value in about.items() if value}
        # Remembered with the start: after a crash between the two, the sender's next try would start it again.
        with acting(of_request(call.person, ASKED, request.headers)), plane.database.transaction():
            started = jobs.run(call, job, jobs.WEBHOOK, parsed(raw), {}, about)
            plane.stores.deliveries.remember(hook.job_id, proof.keys, started, now)
        return started

    return await answered(request, answer)


def _first(request: Request, headers: tuple[str, ...]) -> str | None:
    values = (request.headers.get(name) for name in headers)
    return next((value[:200] for value in values if value), None)


ROUTES: list[Route] = [Route("/api/v1/jobs/webhook/{path}", webhook, methods=["POST"])]
