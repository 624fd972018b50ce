"""This module reads what a request brings, by its route's models: the filters of the query, the fields of the body."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from kubiya_worker.server.edges.base import Filters, NoFilters, Nothing, Wire
from kubiya_worker.server.edges.problems import problems
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.request_body import parsed, received

Model = TypeVar("Model", bound=BaseModel)
Query = TypeVar("Query", bound=Filters)


@dataclass(frozen=True)
class Inputs:
    """The parameters of a request's path, the filters of its query, its body, and the body as the route's model."""

    path: Mapping[str, Any] = field(default_factory=dict)
    filters: Filters | None = None
    body: dict[str, Any] = field(default_factory=dict)
    model: BaseModel | None = None


@dataclass(frozen=True)
class InputModels:
    """The models by which a route reads its requests.

    `body` is None where no body is read; `query` is None where any query is taken.
    """

    body: type[BaseModel] | None
    query: type[Filters] | None

    @classmethod
    def of(
        cls, method: str, body: type[BaseModel] | None = None, query: type[Filters] | None = NoFilters
    ) -> InputModels:
        """Return the models of a route: it takes no field and no filter that it does not name.

        What a worker sends is the exception: both may have more than this server knows.
        """
        if body is None and method in ("POST", "PATCH", "PUT"):
            body = Nothing
        return cls(body, None if body is not None and issubclass(body, Wire) else query)

    async def read(self, request: Request) -> Inputs:
        """Return what a request brings; answer 413 or 422 where it cannot be taken."""
        filters = self._filters(request)
        body = parsed(await received(request)) if self.body is not None else {}
        return self.inner(request.path_params, body, filters)

    def inner(self, path: Mapping[str, Any], body: dict[str, Any], filters: Filters | None = None) -> Inputs:
        """Return what a request inside another one brings: without `filters` it asks for none."""
        if filters is None and self.query is not None:
            filters = without_filters(self.query)
        return Inputs(path, filters, body, read(self.body, body) if self.body is not None else None)

    def _filters(self, request: Request) -> Filters | None:
        if self.query is None or not request.scope["query_string"]:  # as with most requests
            return None if self.query is None else without_filters(self.query)
        return read(self.query, dict(request.query_params), ("query",))


def read(model: type[Model], content: Any, place: Sequence[str | int] = ("body",)) -> Model:
    """Return what a client sent as an instance of the model; answer 422 with each problem and its place."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ApiError(422, problems(error, model, place)) from error


@functools.cache
def without_filters(model: type[Query]) -> Query:
    """Return what a request without a query string asks for; answer 422 where it has to ask for something."""
    return read(model, {}, ("query",))


def set_in(model: BaseModel) -> dict[str, Any]:
    """Return the fields that the request sets, by the names that it has for them, without null ones."""
    if isinstance(model, Wire):
        return model.given()
    fields = model.model_dump(exclude_unset=True, by_alias=True)
    kept = getattr(model, "nullable", ())
    return {name: value for name, value in fields.items() if value is not None or name in kept}
