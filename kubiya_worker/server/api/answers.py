"""This module takes answers from messages: a link's page with two buttons, and the buttons of chats.

A token in the link or the button proves that its holder got the message. It stands for one request with exactly its
arguments and for one person, who must be one that may answer; it counts once, and a GET never answers, because mail
scanners and previews open links.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from kubiya_worker.event_log import EventLogger
from kubiya_worker.server import actor
from kubiya_worker.server.access import ANSWER
from kubiya_worker.server.actor import Actor
from kubiya_worker.server.api import approvals
from kubiya_worker.server.approvers import Approvers
from kubiya_worker.server.auth import Caller
from kubiya_worker.server.call import Call
from kubiya_worker.server.callers import address_of
from kubiya_worker.server.edge import RECORDED
from kubiya_worker.server.inputs import Inputs
from kubiya_worker.server.notify.letter import ANSWERS
from kubiya_worker.server.notify.mattermost import CALLBACK
from kubiya_worker.server.person import Person
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.request_body import parsed, received
from kubiya_worker.server.responses import answered
from kubiya_worker.server.sessions import own_origin
from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store.answer_tokens import AnswerToken
from kubiya_worker.server.store.approvals import Approval
from kubiya_worker.server.store.records import Object

log = EventLogger(__name__)

DECISIONS: Final = {"approve": ap.APPROVED, "reject": ap.REJECTED}
MESSAGE: Final = "message"  # the kind of client that a record of an answer names
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # The address holds the token. With no-referrer, a browser would send the form as from `null`, which is refused.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
GONE: Final = "This link is not valid, or not any more"


@dataclass(frozen=True)
class Answerable:
    """A token has the request that it answers, and the notification whose message holds it."""

    token: AnswerToken
    approval: Approval
    notification: Object


def found_by(plane: Plane, token: str) -> Answerable | None:
    """Return what a token stands for; None for one that is unknown or not of this request."""
    stored = plane.stores.answer_tokens.find(token)
    if stored is None:
        return None
    approval = plane.stores.approvals.get(stored.organization_id, stored.approval_id)
    notification = plane.stores.notifications.find(stored.organization_id, stored.notification_id)
    if approval is None or notification is None or not stored.fits(approval):
        return None
    return Answerable(stored, approval, notification)


@dataclass(frozen=True)
class Press:
    """A press is a decision, with a reason or the answer to a question, and where it came from.

    `email` is of whom the channel says that they pressed; None where the token itself names the person.
    """

    token: str
    decision: str
    address: str
    asked: str
    email: str | None = None
    reason: str = ""
    text: str = ""


def decide(plane: Plane, press: Press) -> Approval:
    """Answer a request in the name of a person.

    Raises ApiError: 404 for a wrong token, 403 for a person who may not, 409 for what was answered or is over.
    """
    answerable, decision = found_by(plane, press.token), press.decision
    if answerable is None or decision not in DECISIONS:
        raise ApiError(404, GONE)
    known, approval, notification = answerable.token, answerable.approval, answerable.notification
    channel = notification["channel"]
    who = known.person or press.email
    # The definition of now says whom a message stands for, not that of the time when it was sent.
    if not who or who not in (channel.get("person"), *(channel.get("persons") or {}).values()):
        raise ApiError(403, "Nobody who may answer is known by this message. Open the page, and sign in")
    call = _call(plane, press.address, known, approval, who)
    place = f"message of {notification['name']} ({channel['type']})"
    with actor.acting(Actor(call.person, MESSAGE, press.asked)):
        try:
            refused = ANSWER.refusal(call.person)
            if refused or not call.reaches(approval["execution_id"]):
                raise ApiError(403, refused or "This person's key does not reach the execution")
            with plane.database.transaction():
                fields = {"answer": press.text} if press.text and decision == "approve" else {}
                field = "comment" if decision == "approve" else "reason"
                decided = approvals.answer(
                    call, DECISIONS[decision], fields, field, reason=press.reason, answered_by=place
                )
                if not plane.stores.answer_tokens.use(known, time.time()):
                    raise ApiError(409, "This link was used already, or it is over")
                return decided
        except ApiError as error:
            if error.status in RECORDED:
                action = f"approval.{decision}"
                plane.stores.audit.refuse(
                    known.organization_id, action, {"approval": approval["id"]}, error.status, error.detail
                )
            raise


def _call(plane: Plane, address: str, token: AnswerToken, approval: Approval, email: str) -> Call:
    """Return the request as one of the person with this e-mail, by the key of theirs that may answer."""
    persons = [each.at(address) for each in plane.stores.keys.persons(token.organization_id, email)]
    if not persons:
        raise ApiError(403, f"Nobody with the e-mail {email} has a key any more. Open the page, and sign in")
    calls = [_call_of(plane, token.organization_id, person, approval) for person in persons]
    return next((call for call in calls if not _refusal(call, approval)), calls[0])


def _call_of(plane: Plane, organization_id: str, person: Person, approval: Approval) -> Call:
    request = Request({"type": "http", "method": "POST", "path": ANSWERS, "headers": [], "query_string": b""})
    return Call(request, plane, Caller(organization_id, person), Inputs(path={"approval": approval["id"]}))


def _refusal(call: Call, approval: Approval) -> str:
    who: Approvers = approvals.approvers_of(call, approval)
    return ANSWER.refusal(call.person) or who.refusal(call.person)


# -- the page of a link


async def show(request: Request) -> Response:
    """Show the request with two buttons. This answers nothing."""
    plane: Plane = request.app.state.plane
    answerable = found_by(plane, request.path_params["token"])
    if answerable is None or not answerable.token.person:
        return _page(GONE, "", 404)
    token, approval = answerable.token, answerable.approval
    if approval["status"] != ap.PENDING or token.used_at is not None or token.expires_at <= time.time():
        return _page("Nothing waits here any more", _outcome(approval), 410)
    return _page(_title(approval), _request(approval) + _form(approval, str(token.person)))


async def press(request: Request) -> Response:
    """Take the answer of a form, or of a button of ntfy."""
    plane: Plane = request.app.state.plane
    if not own_origin(request):
        return _page("This form comes from another page", "", 403)
    try:
        form = parse_qs((await received(request)).decode("utf-8", "replace"), max_num_fields=10)
        fields = {name: values[0].strip() for name, values in form.items()}
        token = request.path_params["token"]
        stored = plane.stores.answer_tokens.find(token)
        if stored is not None and not stored.person:  # a chat's token: only the chat says who pressed
            raise ApiError(404, GONE)
        texts = {"reason": fields.get("reason", ""), "text": fields.get("answer", "")}
        pressed = Press(token, fields.get("decision", ""), address_of(request), f"POST {ANSWERS}/{{token}}", **texts)
        decided = decide(plane, pressed)
    except (ApiError, ValueError) as error:
        status = error.status if isinstance(error, ApiError) else 422
        return _page("This was not answered", f"<p>{escape(text_of(error))}</p>", status)
    return _page("Answered", _outcome(decided))


def text_of(error: Exception) -> str:
    """Return what a refusal says in words: a 422 has a list of problems."""
    detail = error.detail if isinstance(error, ApiError) else str(error)
    return "; ".join(str(each["msg"]) for each in detail) if isinstance(detail, list) else str(detail)


def _title(approval: Approval) -> str:
    return "A question" if _asks(approval) else f"May {approval.get('tool_name')} run?"


def _asks(approval: Approval) -> bool:
    return bool((approval.get("enforcement_context") or {}).get("question"))


def _request(approval: Approval) -> str:
    arguments = json.dumps(approval.get("tool_args") or {}, indent=2, ensure_ascii=False)
    facts = {"Reason": approval.get("reason"), "Risk": approval.get("risk_level"), "Open until": approval["expires_at"]}
    rows = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)
    return f"<pre>{escape(arguments)}</pre><dl>{rows}</dl>"


def _form(approval: Approval, person: str) -> str:
    answer = '<p><label>Answer<br><textarea name="answer" rows="4"></textarea></label></p>' if _asks(approval) else ""
    yes, no = ("Answer", "Do not answer") if _asks(approval) else ("Approve", "Reject")
    return (
        f'<form method="post">{answer}<p><label>Reason<br><input name="reason"></label></p>'
        f'<p><button name="decision" value="approve">{yes}</button> '
        f'<button name="decision" value="reject">{no}</button></p></form>'
        f"<p>You answer as {escape(person)}.</p>"
    )


def _outcome(approval: Approval) -> str:
    by = approval.get("approved_by_name")
    return f"<p>The request is {escape(approval['status'])}{f' by {escape(str(by))}' if by else ''}.</p>"


def _page(title: str, body: str, status: int = 200) -> Response:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Kubiya</title>'
        '<link rel="stylesheet" href="/static/page.css"></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return HTMLResponse(text, status, headers=HEADERS)


def outcome_of(approval: Approval) -> str:
    """Return how a request ended, for what takes the place of a message's buttons."""
    return f"{approval.get('tool_name')}: {approval['status']} by {approval.get('approved_by_name')}"


# -- buttons of Mattermost


async def mattermost(request: Request) -> Response:
    """Take a button that Mattermost's server says was pressed; its answer replaces the buttons."""
    plane: Plane = request.app.state.plane

    async def answer() -> Any:
        body = parsed(await received(request))
        context = body.get("context")
        context = context if isinstance(context, dict) else {}
        token, user = str(context.get("token") or ""), str(body.get("user_id") or "")
        answerable = found_by(plane, token)
        if answerable is None or answerable.token.person:
            raise ApiError(404, GONE)
        email = (answerable.notification["channel"].get("persons") or {}).get(user)
        try:
            decision = str(context.get("decision") or "")
            decided = decide(plane, Press(token, decision, address_of(request), f"POST {CALLBACK}", email))
        except ApiError as error:
            link = f"{plane.notifier.url}/#/executions/{answerable.approval['execution_id']}"
            return {"ephemeral_text": f"{text_of(error)}: {link}"}
        title = outcome_of(decided)
        return {"update": {"message": "", "props": {"attachments": [{"fallback": title, "text": title}]}}}

    return await answered(request, answer)


ROUTES: list[Route] = [
    Route(CALLBACK, mattermost, methods=["POST"]),
    Route(f"{ANSWERS}/{{token}}", show, methods=["GET"]),
    Route(f"{ANSWERS}/{{token}}", press, methods=["POST"]),
]
