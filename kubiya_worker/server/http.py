"""This module reads requests and writes replies: authentication, JSON bodies, errors (docs/protocol.md#a1)."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DatabaseError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kubiya_worker.server import actor, sessions
from kubiya_worker.server.access import Need, need_of
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges.base import Filters, NoFilters, Nothing, Wire
from kubiya_worker.server.edges.problems import problems
from kubiya_worker.server.refusals import REFUSALS, ApiError, refusal
from kubiya_worker.server.request_body import parsed, received
from kubiya_worker.server.request_headers import headers_of
from kubiya_worker.server.store.database import Stale, dumps

if TYPE_CHECKING:
    from kubiya_worker.server.auth import Caller
    from kubiya_worker.server.plane import Plane
    from kubiya_worker.server.store.database import Database

log = logging.getLogger(__name__)

# Bytes: Temporal's limit for one payload is 2 MB, and a payload can hold more than one prompt.
MAX_PROMPT: Final = 256 * 1024
KEY_HEADERS: Final = ("authorization", "userkey")
LOOPBACK: Final = ("127.0.0.1", "::1")
SCHEMES: Final = ("bearer ", "userkey ", "baerer ")

Model = TypeVar("Model", bound=BaseModel)
Row = TypeVar("Row")
Query = TypeVar("Query", bound=Filters)


# Refusals that are recorded: no key, no right, a conflict with what was decided, all agents stopped.
RECORDED: Final = frozenset({401, 403, 409, 423})
ACCESS: Final = "access.call"  # the action of a refused request that changes nothing by itself
LATER: Final = {"Retry-After": "1"}  # seconds, with a 503 of the database
RACES: Final = 6  # times that a request is run which lost against another server's


def token_of(request: Request) -> str:
    """Return the key from any of the forms that clients use (docs/protocol.md#a1); Authorization is preferred."""
    headers = headers_of(request)
    given = headers.get("authorization", "").strip()
    if given.startswith("Bearer "):
        return given[len("Bearer ") :].strip()
    if not given:
        return headers.get("userkey", "").strip()
    for scheme in SCHEMES:
        if given.lower().startswith(scheme):
            return given[len(scheme) :].strip()
    return given if " " not in given else ""


def address_of(request: Request) -> str:
    """Return the address that the request came from: a proxy's, where one stands before this server."""
    client = request.scope.get("client")
    return str(client[0]) if client else ""


def is_local(request: Request) -> bool:
    """Return whether a program of this host asks, and not for somebody else: a proxy says for whom it asks."""
    forwarded = any(name in headers_of(request) for name in ("forwarded", "x-forwarded-for"))
    return address_of(request) in LOOPBACK and not forwarded


def read(model: type[Model], given: Any, place: Sequence[str | int] = ("body",)) -> Model:
    """Return what a client sent as an instance of the model; answer 422 with each problem and its place."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ApiError(422, problems(error, model, place)) from error


@functools.cache
def without_filters(model: type[Query]) -> Query:
    """Return what a request without a query string asks for; answer 422 where it has to ask for something."""
    return read(model, {}, ("query",))


def asked_for(model: type[Query], request: Request) -> Query:
    """Return the query of a request; most have none."""
    if not request.scope["query_string"]:
        nothing: Query = without_filters(model)
        return nothing
    return read(model, dict(request.query_params), ("query",))


def page(call: Call, rows: list[Row]) -> list[Row]:
    """Return the part of a list that the request asks for."""
    wanted = call.filters(filters.Page)
    return rows[wanted.skip : wanted.skip + wanted.limit]


def set_in(model: BaseModel) -> dict[str, Any]:
    """Return the fields that the request sets, by the names that it has for them, without null ones."""
    if isinstance(model, Wire):
        return model.given()
    fields = model.model_dump(exclude_unset=True, by_alias=True)
    kept = getattr(model, "nullable", ())
    return {name: value for name, value in fields.items() if value is not None or name in kept}


class Call:
    """One authenticated request: who asks, of which organization, path parameters, filters of the query, the body."""

    def __init__(
        self,
        request: Request,
        plane: Plane,
        caller: Caller,
        body: dict[str, Any],
        model: type[BaseModel] | None = None,
        path_params: Mapping[str, Any] | None = None,
        filters: Filters | None = None,
    ) -> None:
        """Take the request; answer 422 for a body that is not as `model` says.

        `path_params` are those of a request inside a batch.
        """
        self.request, self.plane, self.caller, self.body = request, plane, caller, body
        self.organization_id, self.person = caller.organization_id, caller.person
        self._path_params = request.path_params if path_params is None else path_params
        self._filters = filters
        self.model = read(model, body) if model is not None else None

    def path(self, name: str) -> str:
        return str(self._path_params[name])

    def filters(self, model: type[Query]) -> Query:
        """Return the query, which the route has read as this model."""
        assert isinstance(self._filters, model)
        return self._filters

    def reaches(self, execution_id: str) -> bool:
        """Return whether the caller's key covers an execution of the organization; without limits this asks nothing."""
        if not self.person.scope.limited:
            return True
        found = self.plane.executions.get(self.organization_id, execution_id)
        return found is not None and self.person.scope.covers(found["queue_id"], found["entity_id"])

    @functools.cached_property
    def given(self) -> dict[str, Any]:
        """Return the fields that the body sets, without null ones."""
        return set_in(self.model) if self.model is not None else {}

    def prompt(self, name: str = "prompt") -> str:
        """Return a text that goes to a model; answer 413 when it is too large."""
        text = str(self.given[name])
        size = len(text.encode())
        if size > MAX_PROMPT:
            raise ApiError(
                413,
                f"The {name} has {size:,} bytes; at most {MAX_PROMPT:,} are taken. Put long material into a file and "
                "name it, so that the agent reads what it needs.",
            )
        return text


def _has_key(request: Request) -> bool:
    return not headers_of(request).keys().isdisjoint(KEY_HEADERS)


def caller_of(request: Request) -> Caller | None:
    """Return who asks, by the key of the request, or else by the cookie of a browser that is signed in."""
    plane: Plane = request.app.state.plane
    if _has_key(request):
        return plane.keys.caller(token_of(request), address_of(request))
    return plane.sessions.caller(request.cookies.get(sessions.cookie_of(request), ""), address_of(request))


def _forged(request: Request) -> str:
    """Return why a write may come from another site's page, which browsers would send with the cookie; else nothing.

    A key is not sent by itself, so a request with one needs no such check.
    """
    if request.method in ("GET", "HEAD") or _has_key(request):
        return ""
    expected = sessions.csrf_of(request.cookies.get(sessions.cookie_of(request), ""))
    given = request.headers.get(sessions.CSRF_HEADER, "")
    if sessions.own_origin(request) and secrets.compare_digest(given.encode(), expected.encode()):
        return ""
    return "A write by a browser's session needs its CSRF token in X-CSRF-Token, and comes from this server's own page"


Handler = Callable[[Call], Awaitable[Any]]


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    if content is None:
        return Response(status_code=204 if status == 200 else status)
    return Response(dumps(content), status, headers, media_type="application/json")


def unauthorized(
    message: str = "The API key is missing or not known here",
    hint: str = "Send 'Authorization: Bearer <key>'. For a local control plane: . ~/.kubiya/dev/env",
) -> Response:
    return reply({"detail": {"error": "Unauthorized", "message": message, "hint": hint}}, 401)


class Edge(Route):
    """A route that needs a key, with the models of what it takes. A batch may hold it if its handler never waits."""

    handler: Handler
    method: str
    status: int
    need: Need
    body: type[BaseModel] | None
    query: type[Filters] | None
    batched: bool
    patient: bool
    audit: str


def route(
    method: str,
    path: str,
    handler: Handler,
    status: int = 200,
    *,
    body: type[BaseModel] | None = None,
    query: type[Filters] | None = NoFilters,
    prefix: str = "/api/v1",
    batched: bool = False,
    patient: bool = False,
    pooled: bool = False,
    audit: str = "",
) -> Edge:
    """Return a route that needs a key.

    The handler's result becomes the JSON reply; a Response is sent unchanged.

    `audit` is what the route's record says that was done, as `kind.verb`; the stores write it with the change, and
    a refusal is recorded here. A test finds the writing routes without it.

    A `patient` route reads much, and lets others go before it (readers.py). One that is `pooled` reads so by
    `Database.reading`, and so waits for nobody where that is a pool of connections.

    A route of a worker's writes takes any query (`query=None`), as it takes unknown fields.
    """
    need = need_of(method, prefix + path)
    with_body = method in ("POST", "PATCH", "PUT")
    if body is None and with_body:
        body = Nothing
    if body is not None and issubclass(body, Wire):
        query = None

    async def serve(request: Request) -> Response:
        plane: Plane = request.app.state.plane
        try:
            caller = caller_of(request)
        except DatabaseError as error:
            return _refused(error, request)
        asked = f"{method} {prefix}{path}"
        if caller is None:
            if audit:
                plane.audit.refuse_key(
                    plane.keys.trace(token_of(request)), audit, asked, request.headers, address_of(request)
                )
            return unauthorized()
        who = actor.of_request(caller.person, asked, headers_of(request))

        def record_refusal(code: int, detail: Any) -> None:
            action = audit or (ACCESS if code == 403 else "")
            if action and code in RECORDED:
                with actor.acting(who):
                    plane.audit.refuse(caller.organization_id, action, request.path_params, code, detail)

        forbidden = _forged(request) or need.refusal(caller.person)
        if forbidden:
            record_refusal(403, forbidden)
            return reply({"detail": forbidden}, 403)

        async def answer() -> Any:
            filters = asked_for(query, request) if query is not None else None
            given = parsed(await received(request)) if with_body else {}
            call = Call(request, plane, caller, given, body, filters=filters)
            if not patient or (pooled and plane.database.shared):
                return await handler(call)
            async with plane.readers.turn():
                return await handler(call)

        with actor.acting(who):
            return await answered(request, answer, status, record_refusal)

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        response = await serve(Request(scope, receive, send))
        await response(scope, receive, send)

    made = Edge(prefix + path, serve, methods=[method])
    made.app = served  # without Starlette's second net for exceptions: `answered` and the first one catch them all
    made.handler, made.method, made.status, made.body, made.query = handler, method, status, body, query
    made.batched, made.patient, made.need, made.audit = batched, patient, need, audit
    return made


async def answered(
    request: Request,
    answer: Callable[[], Awaitable[Any]],
    status: int,
    refused: Callable[[int, Any], None] = lambda status, detail: None,
) -> Response:
    """Return the reply for the result of `answer`, or for the error that it raises, of which `refused` is told."""
    try:
        content = await run_again(request.app.state.plane.database, answer)
        return content if isinstance(content, Response) else reply(content, status)
    except ClientDisconnect:
        return Response(status_code=400)  # the client is gone, so nobody reads this
    except REFUSALS as error:
        status, detail = refusal(error, request.url.path)
        refused(status, detail)
        return _refused(error, request, status, detail)


async def run_again(database: Database, work: Callable[[], Awaitable[Any]]) -> Any:
    """Return the result of `work`, which is run again when it lost a race against another server."""
    for again in range(1, RACES):
        try:
            return await work()
        except (DatabaseError, Stale) as error:
            if not database.again(error):
                raise
        await asyncio.sleep(random.random() * 0.005 * 2**again)  # noqa: S311 - spreads tries
    return await work()


def _refused(error: Exception, request: Request, status: int = 0, detail: Any = None) -> Response:
    if not status:
        status, detail = refusal(error, request.url.path)
    return reply({"detail": detail}, status, LATER if isinstance(error, (DatabaseError, Stale)) else None)
