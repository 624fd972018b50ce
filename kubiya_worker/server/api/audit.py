"""This module shows the audit records, which the stores write with each change. Nothing here changes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.routing import Route

from kubiya_worker.protocol.audit import ChainCheck, Head, Problem
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.store.audit import Audit
from kubiya_worker.server.store.audit_records import AuditQuery, AuditRecords

PART: Final = 500  # records that are read at once, so that other requests come between
MOST_TOLD: Final = 100  # problems of a check


async def list_all(call: Call) -> Any:
    """List the newest records that fit, newest first; `before` is the number where the next page begins."""
    wanted = call.filters(filters.AuditFilters)

    query = AuditQuery(
        since=wanted.since,
        until=wanted.until,
        person=wanted.person,
        action=wanted.action,
        thing=wanted.object,
        outcome=wanted.outcome,
    )

    def search(records: AuditRecords) -> list[dict[str, Any]]:
        return records.search(call.organization_id, query, before=wanted.before or None, limit=wanted.limit)

    return await call.plane.stores.audit.reading(search, long=True)


async def head(call: Call) -> Any:
    """Return the number and hash of the last record; `begins` is NUMBER:HASH of the last one that was removed."""
    last, begin = await call.plane.stores.audit.reading(lambda records: _ends(records, call.organization_id))
    return {"seq": last.seq, "hash": last.hash, "head": str(last), "begins": str(begin) if begin.seq else ""}


async def export(call: Call) -> Any:
    """Return all records after the number `after`, in their order, one line of JSON each."""
    after, audit, organization_id = (
        call.filters(filters.AuditExport).after,
        call.plane.stores.audit,
        call.organization_id,
    )
    # What comes during the export belongs to the next one.
    last = (await audit.reading(lambda records: records.head(organization_id))).seq

    async def parts() -> AsyncIterator[str]:
        at = after
        while part := await _part(audit, organization_id, at, last):
            at = part[-1][0]
            yield "".join(f"{line}\n" for _, line in part)

    return StreamingResponse(parts(), media_type="application/x-ndjson")


async def verify(call: Call) -> Any:
    """Check the chain of all records: {records, head, problems: [{first, last, text}], more}.

    `more` counts problems that are left out. What was cut off together with the noted head shows only beside a head
    that was kept elsewhere: `kubiya audit verify --head`.
    """
    audit, organization_id = call.plane.stores.audit, call.organization_id
    head, begin = await audit.reading(lambda records: _ends(records, organization_id))
    check, problems, at = ChainCheck([head] if head.seq else [], cut=begin), list[Problem](), begin.seq
    while part := await _part(audit, organization_id, at, head.seq):
        for _, line in part:
            problems += check.line(line)
        at = part[-1][0]
        await asyncio.sleep(0)
    problems += check.end()
    shown = [vars(each) for each in problems[:MOST_TOLD]]
    return {"records": check.lines, "head": str(head), "problems": shown, "more": len(problems) - len(shown)}


def _ends(records: AuditRecords, organization_id: str) -> tuple[Head, Head]:
    """Return the head of the last record, and the cut after which the records begin."""
    return records.head(organization_id), records.begin(organization_id)


async def _part(audit: Audit, organization_id: str, after: int, last: int) -> list[tuple[int, str]]:
    """Return the next records up to the number `last`."""
    lines = await audit.reading(lambda records: records.lines(organization_id, after, PART))
    return [each for each in lines if each[0] <= last]


ROUTES: list[Route] = [
    Edge("GET", "/audit", list_all, query=filters.AuditFilters),
    Edge("GET", "/audit/head", head),
    Edge("GET", "/audit/verify", verify),
    Edge("GET", "/audit/export", export, query=filters.AuditExport),
]
