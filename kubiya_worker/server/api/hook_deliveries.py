"""This module takes what comes to `POST /hooks/NAME`: the bytes, the proof, the JSON, and then what the alert asks for.

A sender has no key. Whoever shows no proof learns nothing, not even whether a hook of this name is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from kubiya_worker.errors import WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.actor import acting, of_request
from kubiya_worker.server.api import hook_runs
from kubiya_worker.server.callers import address_of
from kubiya_worker.server.edges.hooks import SECRET
from kubiya_worker.server.hooks import decision, proofs, senders
from kubiya_worker.server.hooks.alert import Alert, BadShape
from kubiya_worker.server.person import of_hook
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.refusals import REFUSALS, ApiError, refusal
from kubiya_worker.server.request_body import parsed, received
from kubiya_worker.server.responses import reply, unauthorized
from kubiya_worker.server.store.hooks import HookDelivery
from kubiya_worker.server.store.records import Object

log = EventLogger(__name__)

ASKED: Final = "POST /hooks/{name}"
LARGEST: Final = 1 << 20  # bytes
FASTEST: Final = 600  # deliveries a minute to one hook
REFUSED: Final = "No hook is here for which this request shows a proof"
HINT: Final = "Check the hook's name and its secret; kubiya hooks deliveries NAME tells its owner more"
_NONE: Final[dict[str, Any]] = proofs.complete({}, "json")


async def take(request: Request) -> Response:
    """Take one delivery."""
    plane: Plane = request.app.state.plane
    try:
        raw = await received(request, LARGEST)
    except ClientDisconnect:
        return Response(status_code=400)
    except ApiError as error:
        return reply({"detail": error.detail}, error.status)
    now = time.time()
    try:
        proven = await _proven(plane, request, raw, now)
        return unauthorized(REFUSED, HINT) if proven is None else _answer(plane, request, *proven, raw, now)
    except REFUSALS as error:
        status, detail = refusal(error, request.url.path)
        return reply({"detail": detail}, status)


async def _proven(plane: Plane, request: Request, raw: bytes, now: float) -> tuple[Object, proofs.ShownProof] | None:
    """Return the hook of this name whose secret the request shows, and what it has shown."""
    hooks = plane.stores.hooks.named(request.path_params["name"])
    if not hooks:  # as much work as for a wrong proof
        _shows(_NONE, ["no secret"], raw, request.headers, now)
    for hook in hooks:
        proof = proofs.complete(hook["proof"], hook["source"])
        secrets, missing = await _secrets(plane, hook)
        proof_shown = _shows(proof, secrets, raw, request.headers, now)
        if isinstance(proof_shown, proofs.ShownProof):
            return hook, proof_shown
        _keep_refused(plane, hook, request, len(raw), missing or proof_shown, now)
    return None


def _shows(
    proof: Object, secrets: list[str], raw: bytes, headers: Mapping[str, str], now: float
) -> proofs.ShownProof | str:
    try:
        return proofs.prove(proof, secrets, raw, headers, now)
    except proofs.NotProven as error:
        return str(error)


async def _secrets(plane: Plane, hook: Object) -> tuple[list[str], str]:
    """Return the values of the hook's secrets, and what is missing."""
    values, missing = [], ""
    for field in proofs.SECRETS:
        match = SECRET.fullmatch(str(hook["proof"].get(field) or "").strip())
        if match is None:
            continue
        try:
            value = await secret_of(plane, hook["organization_id"], match[1])
        except WorkerError as error:
            missing = f"The secret {match[1]} cannot be read: {error.message}"
            log.warning("hook.secret_unavailable", hook=hook["name"], name=match[1], error=error.line())
            continue
        if value is None:
            missing = f"The secret {match[1]} is not there: kubiya secrets set {match[1]}"
        else:
            values.append(value)
    return values, missing


async def secret_of(plane: Plane, organization_id: str, name: str) -> str | None:
    """Return a secret's value; None for one that is not there. Raises WorkerError when it cannot be read."""
    stored = plane.stores.secrets.value(organization_id, name)
    if stored is None:
        return None
    value, source = stored
    plane.stores.secrets.used(organization_id, [name])
    return value if value is not None else await asyncio.to_thread(plane.sources.read, str(source))


def _keep_refused(plane: Plane, hook: Object, request: Request, size: int, reason: str, now: float) -> None:
    """Keep that somebody was refused, at most once a second: anybody can send this."""
    if not plane.hook_pace.may_keep(hook["id"], now):
        return
    kept = {"reason": reason, "address": address_of(request), "bytes": size}
    plane.stores.hooks.keep(hook["id"], now, HookDelivery(verdict=decision.REFUSED, data=kept))


def _answer(plane: Plane, request: Request, hook: Object, proof: proofs.ShownProof, raw: bytes, now: float) -> Response:
    """Answer a delivery that is proven."""
    if not plane.hook_pace.may_come(hook["id"], now, FASTEST):
        answer = reply({"detail": f"More than {FASTEST} deliveries within a minute"}, 429)
        answer.headers["Retry-After"] = "60"
        return answer
    about: Object = {"address": address_of(request), "bytes": len(raw)}
    known = _known(plane, hook, proof, "")
    if known is not None:
        return reply(known, 202)
    hidden = proofs.complete(hook["proof"], hook["source"]).get("field")  # where the body itself has the secret
    text = "" if hidden else raw.decode("utf-8", "replace")
    try:
        alert = _read(hook, request, raw, hidden)
    except (BadShape, ApiError) as error:
        reason = str(error) if isinstance(error, BadShape) else _words(error)
        plane.stores.hooks.keep(
            hook["id"], now, HookDelivery(verdict=decision.MALFORMED, data={**about, "reason": reason}, body=text)
        )
        return reply({"detail": reason}, 422)
    known = _known(plane, hook, proof, alert.number)
    if known is not None:
        return reply(known, 202)
    if not hook["enabled"]:
        reason = "The hook is disabled"
        kept = {**about, "reason": reason, "alert": alert.facts()}
        plane.stores.hooks.keep(hook["id"], now, HookDelivery(verdict=decision.DISABLED, data=kept, body=text))
        return reply({"detail": reason}, 409)
    person = of_hook(hook, address_of(request))
    call = hook_runs.call_of(plane, hook, address_of(request), request)
    try:
        with acting(of_request(person, ASKED, request.headers)):
            signature = proof.signature if _signs_once(hook, proof) else ""
            delivery = hook_runs.take(call, hook, alert, now, about, signature=signature)
        return reply({**delivery, **senders.acknowledgement(hook["source"], alert)}, 202)
    except ApiError as error:
        # The sender may try again: what is missing here can come back.
        reason = _words(error)
        kept = {**about, "reason": reason, "alert": alert.facts()}
        plane.stores.hooks.keep(hook["id"], now, HookDelivery(verdict=decision.FAILED, data=kept, body=text))
        answer = reply({"detail": "The delivery cannot be worked on now"}, 503)
        answer.headers["Retry-After"] = "30"
        return answer


def _read(hook: Object, request: Request, raw: bytes, hidden: str | None) -> Alert:
    """Return what the delivery says; a secret in the body goes no further, as prompts and histories are read."""
    text = senders.text_of(raw, request.headers.get("content-type", ""), hook["source"])
    body = {name: value for name, value in parsed(text).items() if name != hidden}
    return senders.read(hook["source"], body, request.headers)


def _signs_once(hook: Object, proof: proofs.ShownProof) -> bool:
    """Return whether the same signature means the same delivery. Monitors repeat the same body while an alert lasts."""
    return proof.timed or hook["source"] not in senders.REPEATING


def _known(plane: Plane, hook: Object, proof: proofs.ShownProof, number: str) -> Object | None:
    signature = proof.signature if _signs_once(hook, proof) else ""
    return plane.stores.hooks.answered(hook["id"], signature, number)


def _words(error: ApiError) -> str:
    detail = error.detail
    if isinstance(detail, list):
        return "; ".join(str(each.get("msg")) for each in detail)
    return str(detail.get("message") if isinstance(detail, dict) else detail)


ROUTES: list[Route] = [Route("/hooks/{name}", take, methods=["POST"])]
