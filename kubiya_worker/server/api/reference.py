"""This module serves the description of the API: `/openapi.json`, and the same as a page at `/api`.

Both are without a key, as they hold no data. The page is plain HTML that needs no script.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from html import escape
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from kubiya_worker.server import openapi
from kubiya_worker.server.edge import Edge

Object = dict[str, Any]
_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Kubiya API</title>
  <link rel="icon" type="image/svg+xml" href="/static/icon.svg">
  <link rel="stylesheet" href="/static/page.css">
  <link rel="stylesheet" href="/static/api.css">
</head>
<body class="api">
"""


def routes(edges: Iterable[Edge], headers: dict[str, str]) -> list[Route]:
    """Return the two routes; the document is made at the first request."""
    known = list(edges)

    @functools.cache
    def document() -> Object:
        return openapi.document(known)

    @functools.cache
    def page() -> str:
        return rendered(document())

    async def serve_document(request: Request) -> Response:
        return Response(json.dumps(document()), media_type="application/json")

    async def serve_page(request: Request) -> Response:
        return HTMLResponse(page(), headers=headers)

    return [Route("/openapi.json", serve_document), Route("/api", serve_page)]


def rendered(document: Object) -> str:
    """Return the document as a page. Pure."""
    schemas = document["components"]["schemas"]
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, schemas))
    links = "".join(f'<li><a href="#{escape(tag)}">{escape(tag)}</a></li>' for tag in sorted(tags))
    parts = [
        f'<section><h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(tags[tag])}</section>' for tag in sorted(tags)
    ]
    info = document["info"]
    intro = (
        f"<header><h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} "
        'As a document: <a href="/openapi.json">openapi.json</a>.</p></header>'
    )
    models = "".join(_model(name, schema) for name, schema in sorted(schemas.items()))
    rest = f'<section><h2 id="models">Objects</h2>{models}</section>'
    return (
        f'{_HEAD}<main>{intro}<nav aria-label="Resources"><ul>{links}<li><a href="#models">objects</a></li></ul></nav>'
        f"{''.join(parts)}{rest}</main>\n</body>\n</html>\n"
    )


def _operation(method: str, path: str, operation: Object, schemas: Object) -> str:
    by = " <small>called by workers</small>" if operation.get("x-called-by") else ""
    words = " ".join(filter(None, (operation["summary"], operation.get("description", ""))))
    filters = [(p["name"], p["schema"], False) for p in operation["parameters"] if p["in"] == "query"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    named = f'<p>Body: <a href="#{_name(body)}">{_name(body)}</a></p>' if body else ""
    return (
        f'<article id="{escape(operation["operationId"])}"><h3><b>{escape(method.upper())}</b> '
        f"<code>{escape(path)}</code>{by}</h3><p>{escape(words)}</p>{named}{_table('Filter', filters)}</article>"
    )


def _model(name: str, schema: Object) -> str:
    required = schema.get("required", ())
    fields = [(field, about, field in required) for field, about in schema.get("properties", {}).items()]
    description = f"<p>{escape(schema['description'])}</p>" if schema.get("description") else ""
    return f'<article id="{escape(name)}"><h3>{escape(name)}</h3>{description}{_table("Field", fields)}</article>'


def _table(head: str, fields: list[tuple[str, Object, bool]]) -> str:
    if not fields:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' *' if required else ''}</td><td>{_type(about)}</td>"
        f"<td>{escape(about.get('description', ''))}</td></tr>"
        for name, about, required in fields
    )
    return (
        f'<div class="wide-table"><table><thead><tr><th scope="col">{head}</th><th scope="col">Type</th>'
        f'<th scope="col">About</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _name(schema: Object) -> str:
    return escape(str(schema["$ref"]).rpartition("/")[2])


def _type(schema: Object) -> str:
    """Return a type in words, with links to other objects."""
    if "$ref" in schema:
        return f'<a href="#{_name(schema)}">{_name(schema)}</a>'
    if "anyOf" in schema:
        shown = (_type(one) for one in schema["anyOf"] if one.get("type") != "null")
        return " or ".join(dict.fromkeys(shown))
    if "enum" in schema or "const" in schema:
        return escape(", ".join(map(json.dumps, schema.get("enum", [schema.get("const")]))))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("type", "any")))
