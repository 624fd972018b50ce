"""This module serves the sign-in of browsers at an identity provider: the way there, and the way back."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from kubiya_worker.server import actor, sessions
from kubiya_worker.server.auth import ORGANIZATION, Caller
from kubiya_worker.server.http import address_of, reply
from kubiya_worker.server.oidc import PATIENCE, Provider, SignInRefused
from kubiya_worker.server.person import of_person

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

BACK: Final = "\n\nBack to the page: open / in this browser.\n"


def _cookie(request: Request) -> str:
    return f"{sessions.cookie_of(request)}_oidc"


async def providers(request: Request) -> Response:
    """Say where a person can sign in without a key: {oidc: {name} or null}."""
    provider: Provider | None = request.app.state.plane.oidc
    return reply({"oidc": {"name": urlsplit(provider.known.issuer).netloc} if provider else None})


async def begin(request: Request) -> Response:
    """Send the browser to the provider. The state that must come back stands in a cookie, so nobody can finish
    another one's sign-in in this browser.
    """
    provider: Provider | None = request.app.state.plane.oidc
    if provider is None:
        return reply({"detail": "Not Found"}, 404)
    try:
        url, state = await asyncio.to_thread(provider.begin, str(request.base_url).rstrip("/"))
    except SignInRefused as error:
        return PlainTextResponse(f"{error}{BACK}", 502)
    response = RedirectResponse(url, 303)
    _set(response, request, state, int(PATIENCE))
    return response


async def finish(request: Request) -> Response:
    """Take the provider's answer and begin the session of the person that it names."""
    plane: Plane = request.app.state.plane
    if plane.oidc is None:
        return reply({"detail": "Not Found"}, 404)
    state = request.query_params.get("state", "")
    try:
        begun = request.cookies.get(_cookie(request), "")
        if not state or not hmac.compare_digest(state.encode(), begun.encode()):
            raise SignInRefused("This sign-in was not begun in this browser. Begin again")
        refused = request.query_params.get("error")
        if refused:
            raise SignInRefused(f"The identity provider refuses: {refused[:200]}")
        about = await asyncio.to_thread(plane.oidc.finish, state, request.query_params.get("code", ""))
    except SignInRefused as error:
        return PlainTextResponse(f"{error}{BACK}", 403)
    person = of_person(about).at(address_of(request))
    with actor.acting(actor.of_request(person, "GET /auth/oidc/callback", request.headers)):
        token = plane.sessions.begin(Caller(ORGANIZATION, person), about=about)
    response = RedirectResponse("/", 303)
    sessions.set_cookie(response, request, token, secure=plane.oidc.known.url.startswith("https://"))
    _set(response, request, "", 0)
    return response


def _set(response: Response, request: Request, state: str, seconds: int) -> None:
    """Set or delete the cookie of the state; Lax, because the provider's page leads back here."""
    about: dict[str, Any] = {"httponly": True, "samesite": "lax", "secure": request.url.scheme == "https"}
    response.set_cookie(_cookie(request), state, max_age=seconds, path="/auth/oidc", **about)


ROUTES: list[Route] = [
    Route("/auth/oidc", begin),
    Route("/auth/oidc/callback", finish),
    Route("/api/v1/session/providers", providers),
]
