"""This module shows the audit records, which the stores write with each change. Nothing here changes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.routing import Route

from kubiya_worker.protocol.audit import ChainCheck, Problem
from kubiya_worker.server.edges import filters
from kubiya_worker.server.http import Call, route

PART: Final = 500  # records that are read at once, so that other requests come between
MOST_TOLD: Final = 100  # problems of a check


async def list_all(call: Call) -> Any:
    """List the newest records that fit, newest first; `before` is the number where the next page begins."""
    wanted = call.filters(filters.AuditFilters)
    return call.plane.audit.search(
        call.organization_id,
        since=wanted.since,
        until=wanted.until,
        person=wanted.person,
        action=wanted.action,
        thing=wanted.object,
        outcome=wanted.outcome,
        before=wanted.before or None,
        limit=wanted.limit,
    )


async def head(call: Call) -> Any:
    """Return the number and hash of the last record; `begins` is NUMBER:HASH of the last one that was removed."""
    found, begin = call.plane.audit.head(call.organization_id), call.plane.audit.begin(call.organization_id)
    return {"seq": found.seq, "hash": found.hash, "head": str(found), "begins": str(begin) if begin.seq else ""}


async def export(call: Call) -> Any:
    """Return all records after the number `after`, in their order, one line of JSON each."""
    after, plane, organization_id = call.filters(filters.AuditExport).after, call.plane, call.organization_id
    last = plane.audit.head(organization_id).seq  # what comes during the export belongs to the next one

    async def parts() -> AsyncIterator[str]:
        at = after
        while part := [(seq, line) for seq, line in plane.audit.lines(organization_id, at, PART) if seq <= last]:
            at = part[-1][0]
            yield "".join(f"{line}\n" for _, line in part)

    return StreamingResponse(parts(), media_type="application/x-ndjson")


async def verify(call: Call) -> Any:
    """Check the chain of all records: {records, head, problems: [{first, last, text}], more}.

    `more` counts problems that are left out. What was cut off together with the noted head shows only beside a head
    that was kept elsewhere: `kubiya audit verify --head`.
    """
    head = call.plane.audit.head(call.organization_id)
    begin = call.plane.audit.begin(call.organization_id)
    check, problems, at = ChainCheck([head] if head.seq else [], cut=begin), list[Problem](), begin.seq
    while part := [each for each in call.plane.audit.lines(call.organization_id, at, PART) if each[0] <= head.seq]:
        for _, line in part:
            problems += check.line(line)
        at = part[-1][0]
        await asyncio.sleep(0)
    problems += check.end()
    told = [vars(each) for each in problems[:MOST_TOLD]]
    return {"records": check.lines, "head": str(head), "problems": told, "more": len(problems) - len(told)}


ROUTES: list[Route] = [
    route("GET", "/audit", list_all, query=filters.AuditFilters),
    route("GET", "/audit/head", head),
    route("GET", "/audit/verify", verify),
    route("GET", "/audit/export", export, query=filters.AuditExport),
]
