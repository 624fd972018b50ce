"""This module writes the answers to requests: JSON, refusals, and what a handler returns or raises."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import DatabaseError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kubiya_worker.server.refusals import REFUSALS, refusal
from kubiya_worker.server.store.database import Stale, dumps

if TYPE_CHECKING:
    from kubiya_worker.server.store.database import Database

LATER: Final = {"Retry-After": "1"}  # seconds, with a 503 of the database
RACES: Final = 6  # times that a request is run which lost against another server's


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    if content is None:
        return Response(status_code=204 if status == 200 else status)
    return Response(dumps(content), status, headers, media_type="application/json")


def unauthorized(
    message: str = "The API key is missing or not known here",
    hint: str = "Send 'Authorization: Bearer <key>'. For a local control plane: . ~/.kubiya/dev/env",
) -> Response:
    return reply({"detail": {"error": "Unauthorized", "message": message, "hint": hint}}, 401)


def _keep_no_record(status: int, detail: Any) -> None:
    """Leave a refusal without a record."""


def refused(error: Exception, request: Request, record: Callable[[int, Any], None] = _keep_no_record) -> Response:
    """Return the reply for one of REFUSALS; `record` gets its status and its detail."""
    status, detail = refusal(error, request.url.path)
    record(status, detail)
    return reply({"detail": detail}, status, LATER if isinstance(error, (DatabaseError, Stale)) else None)


async def answered(
    request: Request,
    answer: Callable[[], Awaitable[Any]],
    status: int = 200,
    record_refusal: Callable[[int, Any], None] = _keep_no_record,
) -> Response:
    """Return the reply for the result of `answer`, or for the error that it raises."""
    try:
        content = await run_again(request.app.state.plane.database, answer)
    except ClientDisconnect:
        return Response(status_code=400)  # the client is gone, so nobody reads this
    except REFUSALS as error:
        return refused(error, request, record_refusal)
    return content if isinstance(content, Response) else reply(content, status)


async def run_again(database: Database, work: Callable[[], Awaitable[Any]]) -> Any:
    """Return the result of `work`, which is run again when it lost a race against another server."""
    for attempt in range(1, RACES):
        try:
            return await work()
        except (DatabaseError, Stale) as error:
            if not database.again(error):
                raise
        await asyncio.sleep(random.random() * 0.005 * 2**attempt)  # noqa: S311 - spreads tries
    return await work()
