"""This module deletes what nobody needs; else it refuses with the list of who does, or ends these if forced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubiya_worker.server.call import Call
from kubiya_worker.server.edges import filters
from kubiya_worker.server.needed import Dependent, Needs, listed
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.store.records import Object


def delete(
    call: Call, kind: str, thing: Object, find: Callable[[Needs], list[Dependent]], act: Callable[[], Any]
) -> Any:
    """Do `act` if nobody needs the thing; answer 409 with `needed_by` otherwise.

    With `?force=true`, each of those is ended or disabled in the same transaction, and the answer lists them in
    `ended`.
    """
    label = f"the {kind} {thing['name']}"
    needs = find(Needs(call.plane, call.organization_id, label))
    force = call.filters(filters.Deletion).force
    if needs and not force:
        raise ApiError(
            409,
            {
                "error": "Needed",
                "message": f"{label[0].upper()}{label[1:]} is needed by {listed(needs)}",
                "hint": "End or change these first, or send ?force=true to have each of them ended or disabled",
                "needed_by": [need.shown() for need in needs],
            },
        )
    with call.plane.database.transaction():
        for need in needs:
            need.end()
        done = act()
    return {**(done or {}), "ended": [{**need.shown(), "now": need.becomes} for need in needs]} if force else done
