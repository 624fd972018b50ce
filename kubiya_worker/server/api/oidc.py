"""This module serves the sign-in of browsers at an identity provider: the way there, and the way back."""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server import actor, sessions
from kubiya_worker.server.auth import ORGANIZATION, Caller
from kubiya_worker.server.callers import address_of
from kubiya_worker.server.oidc import PATIENCE, Begun, Provider, SignInRefused
from kubiya_worker.server.person import of_person
from kubiya_worker.server.responses import reply

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

PLACE: Final = "sign-in"  # what the cookie is sealed for
BACK: Final = "\n\nBack to the page: open / in this browser.\n"


def _cookie(request: Request) -> str:
    return f"{sessions.cookie_of(request)}_oidc"


async def providers(request: Request) -> Response:
    """Say where a person can sign in without a key: {oidc: {name} or null}."""
    provider: Provider | None = request.app.state.plane.oidc
    return reply({"oidc": {"name": urlsplit(provider.known.issuer).netloc} if provider else None})


async def begin(request: Request) -> Response:
    """Send the browser to the provider. What finishes the sign-in stands sealed in a cookie: nobody can finish another
    one's in this browser, and every server with the same key can.
    """
    plane: Plane = request.app.state.plane
    if plane.oidc is None:
        return reply({"detail": "Not Found"}, 404)
    try:
        url, begun = await asyncio.to_thread(plane.oidc.begin, str(request.base_url).rstrip("/"))
        sealed = await asyncio.to_thread(plane.seal.close, json.dumps(vars(begun)), PLACE)
    except SignInRefused as error:
        return PlainTextResponse(f"{error}{BACK}", 502)
    except ConfigurationError as error:
        return PlainTextResponse(f"{error.line()}{BACK}", 500)
    response = RedirectResponse(url, 303)
    _set(response, request, sealed.encode().hex(), int(PATIENCE))
    return response


async def finish(request: Request) -> Response:
    """Take the provider's answer and begin the session of the person that it names."""
    plane: Plane = request.app.state.plane
    if plane.oidc is None:
        return reply({"detail": "Not Found"}, 404)
    state = request.query_params.get("state", "")
    try:
        begun = await asyncio.to_thread(_begun, plane, request.cookies.get(_cookie(request), ""))
        if begun is None or not state or not hmac.compare_digest(state.encode(), begun.state.encode()):
            raise SignInRefused("This sign-in was not begun in this browser. Begin again")
        refused = request.query_params.get("error")
        if refused:
            raise SignInRefused(f"The identity provider refuses: {refused[:200]}")
        about = await asyncio.to_thread(plane.oidc.finish, begun, request.query_params.get("code", ""))
    except SignInRefused as error:
        return PlainTextResponse(f"{error}{BACK}", 403)
    person = of_person(about).at(address_of(request))
    with actor.acting(actor.of_request(person, "GET /auth/oidc/callback", request.headers)):
        token = plane.stores.sessions.begin(Caller(ORGANIZATION, person), about=about)
    response = RedirectResponse("/", 303)
    sessions.set_cookie(response, request, token, secure=plane.oidc.known.url.startswith("https://"))
    _set(response, request, "", 0)
    return response


def _begun(plane: Plane, cookie: str) -> Begun | None:
    """Return the sign-in that a cookie holds; None for one that no server with this key has sealed."""
    try:
        return Begun(**json.loads(plane.seal.open(bytes.fromhex(cookie).decode(), PLACE)))
    except (ConfigurationError, ValueError):
        return None


def _set(response: Response, request: Request, value: str, seconds: int) -> None:
    """Set or delete the cookie of the sign-in; Lax, because the provider's page leads back here."""
    about: dict[str, Any] = {"httponly": True, "samesite": "lax", "secure": request.url.scheme == "https"}
    response.set_cookie(_cookie(request), value, max_age=seconds, path="/auth/oidc", **about)


ROUTES: list[Route] = [
    Route("/auth/oidc", begin),
    Route("/auth/oidc/callback", finish),
    Route("/api/v1/session/providers", providers),
]
