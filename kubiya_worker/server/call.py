"""This module has the request as its handler sees it: who asks, of which organization, and for what."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.requests import Request

from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges.base import Filters
from kubiya_worker.server.inputs import Inputs, set_in
from kubiya_worker.server.refusals import ApiError

if TYPE_CHECKING:
    from kubiya_worker.server.auth import Caller
    from kubiya_worker.server.plane import Plane

# Bytes: Temporal's limit for one payload is 2 MB, and a payload can hold more than one prompt.
MAX_PROMPT: Final = 256 * 1024

Row = TypeVar("Row")
Query = TypeVar("Query", bound=Filters)


class Call:
    """One authenticated request, or one inside it: who asks, and what it brings."""

    def __init__(self, request: Request, plane: Plane, caller: Caller, inputs: Inputs | None = None) -> None:
        self.request, self.plane, self.caller = request, plane, caller
        self.organization_id, self.person = caller.organization_id, caller.person
        self._inputs = inputs or Inputs()
        self.body = self._inputs.body  # all of it; `fields` are those of them that its model knows

    def path(self, name: str) -> str:
        return str(self._inputs.path[name])

    def filters(self, model: type[Query]) -> Query:
        """Return the query, which the route has read as this model."""
        read = self._inputs.filters
        assert isinstance(read, model)
        return read

    def reaches(self, execution_id: str) -> bool:
        """Return whether the caller's key covers an execution of the organization; without limits this asks nothing."""
        if not self.person.scope.limited:
            return True
        execution = self.plane.stores.executions.get(self.organization_id, execution_id)
        return execution is not None and self.person.scope.covers(execution["queue_id"], execution["entity_id"])

    @functools.cached_property
    def fields(self) -> dict[str, Any]:
        """Return the fields that the body sets, without null ones."""
        model = self._inputs.model
        return set_in(model) if model is not None else {}

    def prompt(self, name: str = "prompt") -> str:
        """Return a text that goes to a model; answer 413 when it is too large."""
        text = str(self.fields[name])
        size = len(text.encode())
        if size > MAX_PROMPT:
            raise ApiError(
                413,
                f"The {name} has {size:,} bytes; at most {MAX_PROMPT:,} are taken. Put long material into a file and "
                "name it, so that the agent reads what it needs.",
            )
        return text


def page(call: Call, rows: list[Row]) -> list[Row]:
    """Return the part of a list that the request asks for."""
    wanted = call.filters(filters.Page)
    return rows[wanted.skip : wanted.skip + wanted.limit]
