"""This module makes the OpenAPI document of the routes, from the models that they read requests with. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kubiya_worker import __version__
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges.base import Filters, Wire

Object = dict[str, Any]
PLACE: Final = "#/components/schemas/{model}"
ABOUT: Final = (
    "The API of the local control plane. Requests of people are taken as they are described here or refused with 422, "
    "which names the field, its place and the nearest known name; null is the same as leaving a field out. Requests of "
    "workers keep to the published protocol, which ignores unknown fields."
)
_ERROR: Final[Object] = {
    "type": "object",
    "properties": {"detail": {"description": "A text, or a list of problems {loc, msg, type} for 422"}},
}
_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")


def document(edges: Iterable[Edge]) -> Object:
    """Return the document, with the routes in their order."""
    routes = list(edges)
    bodies = {edge.models.body for edge in routes}
    models = sorted((model for model in bodies if model is not None), key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=PLACE)
    paths: dict[str, Object] = {}
    for edge in routes:
        paths.setdefault(_PARAMETER.sub(r"{\1}", edge.path), {})[edge.method.lower()] = _operation(edge)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Kubiya control plane", "version": __version__, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(edge: Edge) -> Object:
    summary, description = _words(edge)
    described: Object = {
        "operationId": _identity(edge),
        "tags": [_tag(edge.path)],
        "summary": summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names_in(edge)),
            *_filters(edge.models.query),
        ],
        "responses": {str(_status(edge)): {"description": "Done"}, **_refusals(edge)},
    }
    described["x-roles"] = sorted(edge.need.roles)
    if description:
        described["description"] = description
    body = edge.models.body
    if body is not None and _takes_fields(body):
        schema = {"$ref": PLACE.format(model=body.__name__)}
        described["requestBody"] = {
            "required": any(field.is_required() for field in body.model_fields.values()),
            "content": {"application/json": {"schema": schema}},
        }
    if body is not None and issubclass(body, Wire):
        described["x-called-by"] = "workers"
    return described


def names_in(edge: Edge) -> list[str]:
    """Return the names of the parameters in a route's path."""
    return _PARAMETER.findall(edge.path)


def _words(edge: Edge) -> tuple[str, str]:
    """Return a summary, and what else the handler's docstring says."""
    text = inspect.getdoc(edge.handler) or ""
    first, _, rest = text.partition("\n\n")
    if not first:
        return edge.handler.__name__.replace("_", " ").capitalize(), ""
    return " ".join(first.split()), " ".join(rest.split())


def _identity(edge: Edge) -> str:
    words = re.findall(r"\w+", edge.path.removeprefix("/api/v1"))
    return "_".join([edge.method.lower(), *(word.replace("-", "_") for word in words)])


def _tag(path: str) -> str:
    return path.removeprefix("/api/v1/").partition("/")[0]


def _status(edge: Edge) -> int:
    return 204 if edge.method == "DELETE" and edge.status == 200 else edge.status


def _filters(query: type[Filters] | None) -> list[Object]:
    if query is None:
        return []
    schema = query.model_json_schema()
    return [
        {"name": name, "in": "query", "required": False, "schema": {k: v for k, v in about.items() if k != "title"}}
        for name, about in schema.get("properties", {}).items()
    ]


def _takes_fields(body: type[BaseModel]) -> bool:
    return bool(body.model_fields)


def _refusals(edge: Edge) -> Object:
    content = {"application/json": {"schema": {"$ref": PLACE.format(model="Error")}}}
    known = {
        "401": "The key is missing, unknown, revoked or expired",
        "403": "The key's role or limits forbid it",
    }
    if names_in(edge):
        known["404"] = "It is not there"
    if "{execution}" in edge.path:
        known["410"] = "The execution was removed because of a limit of the server"
    if edge.models.body is not None or edge.models.query is not None:
        known["422"] = "A field or filter is unknown, missing or wrong"
    return {status: {"description": text, "content": content} for status, text in known.items()}
