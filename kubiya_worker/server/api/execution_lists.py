"""This module lists executions: which ones a request asks for, one page of them, or a part counted from the first."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kubiya_worker.server.call import Call
from kubiya_worker.server.edges import filters
from kubiya_worker.server.refusals import not_found
from kubiya_worker.server.store.execution_search import ExecutionQuery, Place, cursor_of, place_of
from kubiya_worker.server.store.executions import Execution, summary
from kubiya_worker.server.store.records import Records

MOST: int = 500  # executions that are read at once


async def list_all(call: Call) -> Any:
    """List executions; with `cursor` one page of them, {executions, next}, and `next` is the next page's cursor.

    A page may have less than `limit`, and even none, while `next` says that there is more to look through.
    """
    wanted = call.filters(filters.ExecutionFilters)
    query = _query_of(call, wanted)
    if wanted.cursor is None:
        return _shown(await part(call, query, wanted.skip, wanted.limit), wanted)
    after = place_of(wanted.cursor) if wanted.cursor else None
    executions, place = await call.plane.stores.executions.search(query, after=after, limit=wanted.limit)
    return {"executions": _shown(executions, wanted), "next": cursor_of(place) if place else None}


async def part(call: Call, query: ExecutionQuery, skip: int, limit: int) -> list[Execution]:
    """Return at most `limit` executions behind the first `skip` ones, however many have to be looked at.

    Others are served between two looks.
    """
    in_sql = skip if query.is_exact else 0
    needed, after, executions = limit + skip - in_sql, None, list[Execution]()
    while True:
        wanted = min(MOST, needed - len(executions))
        more, after = await _look(call, query, after, in_sql, wanted)
        if after is not None and len(more) < wanted:  # they are many, so the next looks need not ask for their number
            query = replace(query, many=True)
        executions += more
        if after is None or len(executions) == needed:
            return executions[skip - in_sql :]
        await asyncio.sleep(0)


async def _look(
    call: Call, query: ExecutionQuery, after: Place | None, skip: int, limit: int
) -> tuple[list[Execution], Place | None]:
    return await call.plane.stores.executions.search(query, after=after, skip=0 if after else skip, limit=limit)


def _shown(executions: Sequence[Execution], wanted: filters.ExecutionFilters) -> list[Execution]:
    return [summary(e) for e in executions] if wanted.summary else list(executions)


def _query_of(call: Call, wanted: filters.ExecutionFilters) -> ExecutionQuery:
    """Return the search for what the filters say; answer 404 for the name of an agent or a queue that is not there."""
    return ExecutionQuery(
        call.organization_id,
        statuses=filters.statuses_of(wanted.status_filter, wanted.status),
        kind=wanted.execution_type,
        queue_id=id_of(call, "Queue", wanted.queue, (call.plane.stores.queues,)),
        entity_id=id_of(call, "Agent or team", wanted.agent, (call.plane.stores.agents, call.plane.stores.teams)),
        requester=call.person.id if wanted.person == "me" else wanted.person.lower(),
        since=wanted.since,
        until=wanted.until,
        text=wanted.text.casefold(),
        beginning=wanted.id,
        waits=wanted.waits,
        oldest=wanted.order == "oldest",
        scope=call.person.scope,
    )


def id_of(call: Call, kind: str, key: str, stores: Sequence[Records]) -> str:
    """Return the id for an id or a name. What was deleted is found by its id, as its executions are still there."""
    if not key:
        return ""
    definition = next(filter(None, (store.find(call.organization_id, key) for store in stores)), None)
    if definition is not None:
        return str(definition["id"])
    try:
        return str(uuid.UUID(key))
    except ValueError:
        raise not_found(kind, key) from None
