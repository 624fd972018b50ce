"""This module takes the buttons of Slack: over Socket Mode, or by requests that Slack signs, where it has an address.

A press counts before it is acknowledged, so that a kill in between is an error that Slack shows to the person, and no
answer that is lost. What people see in Slack changes after that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Coroutine
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubiya_worker.errors import WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.api import answers
from kubiya_worker.server.api.answers import Press
from kubiya_worker.server.hooks import proofs
from kubiya_worker.server.notify import slack
from kubiya_worker.server.notify.letter import ANSWERS
from kubiya_worker.server.notify.outgoing import Undelivered
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.proof import TOLERANCE, seconds
from kubiya_worker.server.refusals import REFUSALS, ApiError, refusal
from kubiya_worker.server.request_body import received
from kubiya_worker.server.responses import reply
from kubiya_worker.server.store.records import Object

log = EventLogger(__name__)

CALLBACK: Final = f"{ANSWERS}/slack"
LARGEST: Final = 256 * 1024  # bytes
REMEMBERED: Final = 10_000  # signatures, each for as long as its time holds
UNPROVEN: Final = "The request is not signed by a Slack app that a notification names"


async def slack_channels(plane: Plane, field: str = "app_token") -> list[Object]:
    """Return the channels of Slack with this field, their secrets filled in; those that lack one are left out."""
    channels = []
    for notification in plane.stores.notifications.every():
        channel = notification["channel"]
        if notification["enabled"] and channel["type"] == "slack" and channel.get(field):
            try:
                filled = await plane.notifier.filled(notification)
            except WorkerError as error:
                log.warning("slack.not_connected", name=notification["name"], error=error.line())
                continue
            channels.append({**filled, "notification_id": notification["id"]})
    return channels


def pressed_in_slack(plane: Plane, channel: Object, payload: Object) -> Coroutine[Any, Any, None] | None:
    """Take a button of Slack; return what tells its outcome there, or None for what is no answer.

    The outcome takes the place of the message, and a refusal is shown to who pressed.
    """
    actions = [each for each in payload.get("actions") or () if isinstance(each, dict)]
    action = next((each for each in actions if each.get("action_id") in answers.DECISIONS), None)
    if payload.get("type") != "block_actions" or action is None:
        return None  # the link, which Slack tells too
    token, user = str(action.get("value") or ""), str((payload.get("user") or {}).get("id") or "")
    container = payload.get("container") or {}
    place = {"channel": container.get("channel_id"), "ts": container.get("message_ts")}
    answerable = answers.found_by(plane, token)
    notification = answerable.notification if answerable is not None and not answerable.token.person else {}
    ours = notification.get("channel") or {}
    email = (ours.get("persons") or {}).get(user)
    try:
        decided = answers.decide(plane, Press(token, str(action["action_id"]), "", "Slack block_actions", email))
        outcome = answers.outcome_of(decided)
        return _tell(
            plane,
            channel,
            ours and notification,
            "chat.update",
            {**place, "text": outcome, "blocks": slack.outcome(outcome)},
        )
    except ApiError as error:
        link = plane.notifier.url
        if answerable is not None:
            link = f"{link}/#/executions/{answerable.approval['execution_id']}"
        answer = {"channel": place["channel"], "user": user, "text": f"{answers.text_of(error)}: {link}"}
        return _tell(plane, channel, ours and notification, "chat.postEphemeral", answer)


async def _tell(plane: Plane, channel: Object, notification: Object, method: str, answer: Object) -> None:
    """Call Slack as the bot that wrote the message: the connection is the app's, the bot the definition's own."""
    try:
        if notification and notification["channel"]["type"] == "slack":
            channel = await plane.notifier.filled(notification)
        await slack.call(channel, method, answer, plane.notifier.out)
    except (Undelivered, WorkerError) as error:
        log.warning("slack.not_updated", method=method, error=error)


# -- requests that Slack signs


async def press(request: Request) -> Response:
    """Take a press that Slack sends to the app's Request URL: signed, at most five minutes ago, and once."""
    plane: Plane = request.app.state.plane
    try:
        raw = await received(request, LARGEST)
        channels = await _proven(plane, raw, request)
        payload = _payload(raw)
    except REFUSALS as error:
        status, detail = refusal(error, request.url.path)
        return reply({"detail": detail}, status)
    # The signature is an app's: it answers by the messages of the definitions that name the app, and by no others.
    actions = payload.get("actions") or ()
    tokens = [str(each.get("value") or "") for each in actions if isinstance(each, dict)]
    known = (answers.found_by(plane, token) for token in tokens)
    owners = [answerable.notification["id"] for answerable in known if answerable is not None]
    if set(owners) - {channel["notification_id"] for channel in channels}:
        return reply({"detail": UNPROVEN}, 401)
    rest = pressed_in_slack(plane, channels[0], payload)
    return Response(status_code=200, background=BackgroundTask(_finish, rest) if rest is not None else None)


async def _finish(rest: Coroutine[Any, Any, None]) -> None:
    try:
        await rest
    except Exception as error:  # a bug: the press counts, and only its message was not changed
        log.fault("slack.answer_failed", error)


async def _proven(plane: Plane, raw: bytes, request: Request) -> list[Object]:
    """Return the channels whose signing secret signed the request. Raises ApiError."""
    now, stamp = time.time(), seconds(request.headers.get("x-slack-request-timestamp", ""))
    if stamp is None or abs(now - stamp) > TOLERANCE:
        raise ApiError(401, UNPROVEN)  # before a secret is read for it
    channels = await slack_channels(plane, "signing_secret")
    proof = proofs.complete({"preset": "slack"}, "json")
    good, signature = [], ""
    for channel in channels:
        try:
            shown = proofs.prove(proof, [str(channel["signing_secret"])], raw, request.headers, now)
        except proofs.NotProven:
            continue
        good.append(channel)
        signature = shown.signature
    if not good:
        raise ApiError(401, UNPROVEN)
    if not _first(plane, signature, now):
        raise ApiError(409, "This request came before")
    return good


def _first(plane: Plane, signature: str, now: float) -> bool:
    """Return whether a signature is new. A press counts once in the database too, whatever became of this memory."""
    seen = plane.slack_signatures
    for old in [key for key, until in seen.items() if until < now]:
        del seen[old]
    if signature in seen or len(seen) >= REMEMBERED:
        return False
    seen[signature] = now + 2 * TOLERANCE
    return True


def _payload(raw: bytes) -> Object:
    """Return the JSON in the form that Slack sends. Raises ApiError."""
    try:
        values = parse_qs(raw.decode(), max_num_fields=10).get("payload")
        payload = json.loads(values[0]) if values else None
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise ApiError(422, "This is no payload of a Slack app")
    return payload


ROUTES: list[Route] = [Route(CALLBACK, press, methods=["POST"])]
