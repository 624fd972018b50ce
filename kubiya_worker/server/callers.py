"""This module says who makes a request: its key or cookie, its address, and whether another site's page made it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from kubiya_worker.server import sessions
from kubiya_worker.server.request_headers import headers_of

if TYPE_CHECKING:
    from kubiya_worker.server.auth import Caller
    from kubiya_worker.server.plane import Plane

KEY_HEADERS: Final = ("authorization", "userkey")
LOOPBACK: Final = ("127.0.0.1", "::1")
SCHEMES: Final = ("bearer ", "userkey ", "baerer ")


def token_of(request: Request) -> str:
    """Return the key from any of the forms that clients use (docs/protocol.md#a1); Authorization is preferred."""
    headers = headers_of(request)
    authorization = headers.get("authorization", "").strip()
    if authorization.startswith("Bearer "):
        return authorization[len("Bearer ") :].strip()
    if not authorization:
        return headers.get("userkey", "").strip()
    for scheme in SCHEMES:
        if authorization.lower().startswith(scheme):
            return authorization[len(scheme) :].strip()
    return authorization if " " not in authorization else ""


def address_of(request: Request) -> str:
    """Return the address that the request came from: a proxy's, where one stands before this server."""
    client = request.scope.get("client")
    return str(client[0]) if client else ""


def is_local(request: Request) -> bool:
    """Return whether a program of this host asks, and not for somebody else: a proxy says for whom it asks."""
    forwarded = any(name in headers_of(request) for name in ("forwarded", "x-forwarded-for"))
    return address_of(request) in LOOPBACK and not forwarded


def _has_key(request: Request) -> bool:
    return not headers_of(request).keys().isdisjoint(KEY_HEADERS)


def caller_of(request: Request) -> Caller | None:
    """Return who asks, by the key of the request, or else by the cookie of a browser that is signed in."""
    plane: Plane = request.app.state.plane
    if _has_key(request):
        return plane.stores.keys.caller(token_of(request), address_of(request))
    return plane.stores.sessions.caller(request.cookies.get(sessions.cookie_of(request), ""), address_of(request))


def forgery_of(request: Request) -> str:
    """Return why a write may come from another site's page, which browsers would send with the cookie; else nothing.

    A key is not sent by itself, so a request with one needs no such check.
    """
    if request.method in ("GET", "HEAD") or _has_key(request):
        return ""
    expected = sessions.csrf_of(request.cookies.get(sessions.cookie_of(request), ""))
    sent = request.headers.get(sessions.CSRF_HEADER, "")
    if sessions.own_origin(request) and secrets.compare_digest(sent.encode(), expected.encode()):
        return ""
    return "A write by a browser's session needs its CSRF token in X-CSRF-Token, and comes from this server's own page"
