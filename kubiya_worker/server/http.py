"""Requests and replies: authentication, JSON bodies, and errors in the shapes of PROTOCOL A.1."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kubiya_worker.server.store.records import Taken

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

MAX_BODY: Final = 8 * 1024 * 1024  # bytes
MAX_PROMPT: Final = 256 * 1024  # bytes: Temporal's limit for one payload is 2 MB, and a prompt is not the only one
SCHEMES: Final = ("bearer ", "userkey ", "baerer ")


class ApiError(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def not_found(what: str, key: str) -> ApiError:
    return ApiError(404, f"{what} {key!r} not found")


def token_of(request: Request) -> str:
    """The key in any of the forms that clients use (PROTOCOL A.1); Authorization wins."""
    given = request.headers.get("authorization", "").strip()
    if not given:
        return request.headers.get("userkey", "").strip()
    for scheme in SCHEMES:
        if given.lower().startswith(scheme):
            return given[len(scheme) :].strip()
    return given if " " not in given else ""


class Call:
    """One authenticated request: organization, path parameters, query, JSON object."""

    def __init__(self, request: Request, plane: Plane, organization_id: str, body: dict[str, Any]) -> None:
        self.request, self.plane, self.organization_id, self.body = request, plane, organization_id, body

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def query(self, name: str, default: str = "") -> str:
        return self.request.query_params.get(name, default)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        text = self.query(name)
        try:
            return max(low, min(high, int(text))) if text else default
        except ValueError:
            raise ApiError(422, [_problem(["query", name], "a whole number", "int_parsing")]) from None

    def text(self, name: str, *, required: bool = True) -> str:
        """A string of the body; 422 in FastAPI's shape when it is missing or something else."""
        value = self.body.get(name)
        if value is None and not required:
            return ""
        if value is None:
            raise ApiError(422, [_problem(["body", name], "Field required", "missing")])
        if not isinstance(value, str):
            raise ApiError(422, [_problem(["body", name], "Input should be a valid string", "string_type")])
        if required and not value.strip():
            raise ApiError(422, [_problem(["body", name], f"{name} must not be empty", "string_too_short")])
        return value

    def prompt(self, name: str = "prompt") -> str:
        text = self.text(name)
        size = len(text.encode())
        if size > MAX_PROMPT:
            raise ApiError(
                413,
                f"The {name} has {size:,} bytes; at most {MAX_PROMPT:,} are taken. Put long material into a file and "
                "name it, so that the agent reads what it needs.",
            )
        return text


Handler = Callable[[Call], Awaitable[Any]]


def _problem(where: list[str], message: str, kind: str) -> dict[str, Any]:
    return {"loc": where, "msg": message, "type": kind}


def reply(content: Any, status: int = 200) -> Response:
    if content is None:
        return Response(status_code=204 if status == 200 else status)
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(body, status, media_type="application/json")


def unauthorized() -> JSONResponse:
    detail = {
        "error": "Unauthorized",
        "message": "The API key is missing or not known here",
        "hint": "Send 'Authorization: Bearer <key>'. For a local control plane: . ~/.kubiya/dev/env",
    }
    return JSONResponse({"detail": detail}, 401)


def route(method: str, path: str, handler: Handler, status: int = 200, *, prefix: str = "/api/v1") -> Route:
    """A route that wants a key. What the handler returns is the JSON reply; a Response passes as it is."""

    async def serve(request: Request) -> Response:
        plane: Plane = request.app.state.plane
        organization_id = plane.keys.organization(token_of(request))
        if organization_id is None:
            return unauthorized()
        try:
            body = await _body(request) if method in ("POST", "PATCH", "PUT") else {}
            answer = await handler(Call(request, plane, organization_id, body))
        except ApiError as error:
            plane.database.rollback()
            return reply({"detail": error.detail}, error.status)
        except Taken as error:
            return reply({"detail": f"The name {str(error)!r} is taken"}, 409)
        return answer if isinstance(answer, Response) else reply(answer, status)

    return Route(prefix + path, serve, methods=[method])


async def _body(request: Request) -> dict[str, Any]:
    size = request.headers.get("content-length", "0")
    if size.isdigit() and int(size) > MAX_BODY:
        raise ApiError(413, f"The request has {int(size):,} bytes; at most {MAX_BODY:,} are taken")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            raise ApiError(413, f"The request is too large; at most {MAX_BODY:,} bytes are taken")
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise ApiError(422, [_problem(["body"], f"JSON decode error: {error}", "json_invalid")]) from error
    if not isinstance(body, dict):
        raise ApiError(422, [_problem(["body"], "Input should be an object", "dict_type")])
    return body
