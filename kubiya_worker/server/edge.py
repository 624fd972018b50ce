"""This module has the routes of the API: each says what it takes, who may call it, and what is recorded of it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel
from sqlalchemy.exc import DatabaseError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kubiya_worker.server import actor
from kubiya_worker.server.access import PREFIX, need_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.callers import address_of, caller_of, forgery_of, token_of
from kubiya_worker.server.edges.base import Filters, NoFilters
from kubiya_worker.server.inputs import InputModels
from kubiya_worker.server.request_headers import headers_of
from kubiya_worker.server.responses import answered, refused, reply, unauthorized

if TYPE_CHECKING:
    from kubiya_worker.server.auth import Caller
    from kubiya_worker.server.plane import Plane

# Refusals that are recorded: no key, no right, a conflict with what was decided, all agents stopped.
RECORDED: Final = frozenset({401, 403, 409, 423})
ACCESS: Final = "access.call"  # the action of a refused request that changes nothing by itself

Handler = Callable[[Call], Awaitable[Any]]


class Edge(Route):
    """A route that needs a key; the handler's result becomes the JSON reply, and a Response is sent unchanged.

    `audit` is what the route's record says that was done, as `kind.verb`; the stores write it with the change, and
    a refusal is recorded here. A test finds the writing routes without it.

    A batch may hold a `batched` route: its handler never waits.

    A `patient` route reads much. It lets others go before it (readers.py), except where reads have a pool of
    connections: its handler uses that, by `Database.reading`, and so waits for nobody.
    """

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        status: int = 200,
        *,
        body: type[BaseModel] | None = None,
        query: type[Filters] | None = NoFilters,
        batched: bool = False,
        patient: bool = False,
        audit: str = "",
    ) -> None:
        super().__init__(PREFIX + path, self._respond, methods=[method])
        self.app = self._serve  # without Starlette's second net for exceptions: `answered` and the first one catch all
        self.method, self.handler, self.status = method, handler, status
        self.models = InputModels.of(method, body, query)
        self.need = need_of(method, path)
        self.batched, self.patient, self.audit = batched, patient, audit

    @property
    def title(self) -> str:
        """Return the route as records name it."""
        return f"{self.method} {self.path}"

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        plane: Plane = request.app.state.plane
        try:
            caller = caller_of(request)
        except DatabaseError as error:
            return refused(error, request)
        if caller is None:
            self._record_bad_key(plane, request)
            return unauthorized()
        record = functools.partial(self._record_refusal, plane, caller, request)
        with actor.acting(actor.of_request(caller.person, self.title, headers_of(request))):
            forbidden = forgery_of(request) or self.need.refusal(caller.person)
            if forbidden:
                record(403, forbidden)
                return reply({"detail": forbidden}, 403)
            return await answered(request, functools.partial(self._answer, plane, caller, request), self.status, record)

    async def _answer(self, plane: Plane, caller: Caller, request: Request) -> Any:
        call = Call(request, plane, caller, await self.models.read(request))
        if not self.patient or plane.database.shared:
            return await self.handler(call)
        async with plane.readers.turn():
            return await self.handler(call)

    def _record_bad_key(self, plane: Plane, request: Request) -> None:
        if self.audit:
            trace = plane.stores.keys.trace(token_of(request))
            plane.stores.audit.refuse_key(trace, self.audit, self.title, request.headers, address_of(request))

    def _record_refusal(self, plane: Plane, caller: Caller, request: Request, status: int, detail: Any) -> None:
        action = self.audit or (ACCESS if status == 403 else "")
        if action and status in RECORDED:
            plane.stores.audit.refuse(caller.organization_id, action, request.path_params, status, detail)
