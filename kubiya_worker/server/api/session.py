"""This module serves the sessions of browsers: sign in with a key, say who is signed in, and sign out."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from kubiya_worker.server.access import routes_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.callers import token_of
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.responses import reply
from kubiya_worker.server.sessions import cookie_of, csrf_of, set_cookie


def _shown(call: Call, token: str) -> dict[str, Any]:
    person = call.person
    who = {**person.contact(), "role": person.role, "groups": list(person.groups)}
    return {"user": who, "may": routes_of(person), "csrf_token": csrf_of(token) if token else None}


async def sign_in(call: Call) -> Any:
    """Begin a session for the key of this request; the answer sets a cookie that scripts cannot read.

    `csrf_token` goes into the header `X-CSRF-Token` of each write that the cookie authenticates.
    """
    key = token_of(call.request)
    if not key:
        raise ApiError(400, "Send the key to sign in with: 'Authorization: Bearer <key>'")
    token = call.plane.stores.sessions.begin(call.caller, key=key)
    return _with_cookie(call, _shown(call, token), token)


async def show(call: Call) -> Any:
    """Say who is signed in and which routes they may call. Without a cookie, `csrf_token` is null."""
    return _shown(call, call.request.cookies.get(cookie_of(call.request), ""))


async def sign_out(call: Call) -> Any:
    """End this browser's session."""
    call.plane.stores.sessions.end(call.caller, call.request.cookies.get(cookie_of(call.request), ""))
    return _with_cookie(call, {"ended": 1}, None)


async def sign_out_everywhere(call: Call) -> Any:
    """End all sessions of the person, in every browser. Keys stay valid."""
    return _with_cookie(call, {"ended": call.plane.stores.sessions.end_all(call.caller)}, None)


def _with_cookie(call: Call, content: Any, token: str | None) -> Response:
    response = reply(content)
    set_cookie(response, call.request, token)
    return response


ROUTES: list[Route] = [
    Edge("GET", "/session", show),
    Edge("POST", "/session", sign_in, audit="session.begin"),
    Edge("DELETE", "/session", sign_out),
    Edge("DELETE", "/sessions", sign_out_everywhere, audit="session.end_all"),
]
