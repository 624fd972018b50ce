"""This module reads requests and writes replies: authentication, JSON bodies, and errors in the forms of
docs/protocol.md#a1.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DatabaseError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from kubiya_worker.server.store.database import dumps
from kubiya_worker.server.store.outbox import TooLarge
from kubiya_worker.server.store.records import Taken

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane

log = logging.getLogger(__name__)

MAX_BODY: Final = 8 * 1024 * 1024  # bytes
MAX_DRAIN: Final = 64 * 1024 * 1024  # bytes of a refused body that are read, so that its sender can read the reply
# Bytes: Temporal's limit for one payload is 2 MB, and a payload can hold more than one prompt.
MAX_PROMPT: Final = 256 * 1024
MAX_NAME: Final = 200  # characters
MAX_DEPTH: Final = 100  # depth of arrays and objects in a body
SCHEMES: Final = ("bearer ", "userkey ", "baerer ")

# JSON types by the names that FastAPI gives them in a 422.
_TYPES: Final[Mapping[type, tuple[str, str]]] = {
    str: ("Input should be a valid string", "string_type"),
    dict: ("Input should be a valid dictionary", "dict_type"),
    list: ("Input should be a valid list", "list_type"),
    bool: ("Input should be a valid boolean", "bool_type"),
    int: ("Input should be a valid integer", "int_type"),
    float: ("Input should be a valid number", "float_type"),
}


class ApiError(Exception):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


REFUSALS: Final = (ApiError, Taken, TooLarge, DatabaseError)


def not_found(what: str, key: str) -> ApiError:
    return ApiError(404, f"{what} {key!r} not found")


def invalid(where: str, message: str, kind: str = "value_error") -> ApiError:
    """Return a 422 in FastAPI's form about one field of the body."""
    return ApiError(422, [_problem(["body", where], message, kind)])


def _problem(where: Sequence[str | int], message: str, kind: str) -> dict[str, Any]:
    return {"loc": list(where), "msg": message, "type": kind}


def token_of(request: Request) -> str:
    """Return the key from any of the forms that clients use (docs/protocol.md#a1); Authorization is preferred."""
    given = request.headers.get("authorization", "").strip()
    if not given:
        return request.headers.get("userkey", "").strip()
    for scheme in SCHEMES:
        if given.lower().startswith(scheme):
            return given[len(scheme) :].strip()
    return given if " " not in given else ""


def fields_of(body: Mapping[str, Any], fields: Mapping[str, type]) -> dict[str, Any]:
    """Return the known fields of the body, without unknown and null ones; answer 422 with each wrong type. Pure."""
    found: dict[str, Any] = {}
    problems = []
    for name, kind in fields.items():
        value = body.get(name)
        if value is None:
            continue
        right = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not right or (isinstance(value, bool) and kind is not bool):
            problems.append(_problem(["body", name], *_TYPES[kind]))
        found[name] = value
    if problems:
        raise ApiError(422, problems)
    return found


def read(model: type[BaseModel], body: Any, where: tuple[str | int, ...] = ()) -> BaseModel:
    """Return the body as an instance of the model.

    A 422 lists each problem, as on the published server, and quotes no value.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problems = [
            _problem(["body", *where, *one["loc"]], one["msg"], one["type"])
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise ApiError(422, problems) from error


class Call:
    """One authenticated request: organization, path parameters, query, JSON object."""

    def __init__(
        self,
        request: Request,
        plane: Plane,
        organization_id: str,
        body: dict[str, Any],
        path_params: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the request; `path_params` are those of a request inside a batch."""
        self.request, self.plane, self.organization_id, self.body = request, plane, organization_id, body
        self._path_params = request.path_params if path_params is None else path_params

    def path(self, name: str) -> str:
        return str(self._path_params[name])

    def query(self, name: str, default: str = "") -> str:
        return self.request.query_params.get(name, default)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        text = self.query(name)
        try:
            return max(low, min(high, int(text))) if text else default
        except ValueError:
            raise ApiError(422, [_problem(["query", name], "Input should be a valid integer", "int_parsing")]) from None

    def fields(self, fields: Mapping[str, type]) -> dict[str, Any]:
        return fields_of(self.body, fields)

    def given(self, model: type[BaseModel]) -> dict[str, Any]:
        """Return the model's fields that the body sets, without null ones; answer 422 for an invalid body."""
        fields = read(model, self.body).model_dump(exclude_unset=True)
        return {name: value for name, value in fields.items() if value is not None}

    def text(self, name: str) -> str:
        """Return a required text that is not empty; else answer 422."""
        value = self.body.get(name)
        if value is None:
            raise invalid(name, "Field required", "missing")
        if not isinstance(value, str):
            raise invalid(name, *_TYPES[str])
        if not value.strip():
            raise invalid(name, f"{name} must not be empty", "string_too_short")
        return value

    def name(self, field: str = "name", low: int = 1, high: int = MAX_NAME) -> str:
        text = self.text(field).strip()
        if not low <= len(text) <= high:
            raise invalid(field, f"{field} must have {low} to {high} characters", "string_length")
        return text

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


def reply(content: Any, status: int = 200) -> Response:
    if content is None:
        return Response(status_code=204 if status == 200 else status)
    return Response(dumps(content), status, media_type="application/json")


def unauthorized(
    message: str = "The API key is missing or not known here",
    hint: str = "Send 'Authorization: Bearer <key>'. For a local control plane: . ~/.kubiya/dev/env",
) -> Response:
    return reply({"detail": {"error": "Unauthorized", "message": message, "hint": hint}}, 401)


class Write(Route):
    """A route that a batch may hold: its handler never waits."""

    handler: Handler


def route(
    method: str,
    path: str,
    handler: Handler,
    status: int = 200,
    *,
    prefix: str = "/api/v1",
    batched: bool = False,
) -> Route:
    """Return a route that needs a key; the handler's result becomes the JSON reply, and a Response is sent
    unchanged.
    """
    with_body = method in ("POST", "PATCH", "PUT")

    async def serve(request: Request) -> Response:
        plane: Plane = request.app.state.plane
        organization_id = plane.keys.organization(token_of(request))
        if organization_id is None:
            return unauthorized()

        async def answer() -> Any:
            body = parsed(await received(request)) if with_body else {}
            return await handler(Call(request, plane, organization_id, body))

        return await answered(request, answer, status)

    if not batched:
        return Route(prefix + path, serve, methods=[method])
    made = Write(prefix + path, serve, methods=[method])
    made.handler = handler
    return made


async def answered(request: Request, answer: Callable[[], Awaitable[Any]], status: int) -> Response:
    """Return the reply for the result of `answer`, or for the error that it raises."""
    try:
        content = await answer()
        return content if isinstance(content, Response) else reply(content, status)
    except ClientDisconnect:
        return Response(status_code=400)  # the client is gone, so nobody reads this
    except REFUSALS as error:
        status, detail = refusal(error, request.url.path)
        return reply({"detail": detail}, status)


def refusal(error: Exception, path: str) -> tuple[int, Any]:
    """Return the status and the `detail` for one of REFUSALS."""
    if isinstance(error, ApiError):
        return error.status, error.detail
    if isinstance(error, Taken):
        return 409, f"The name {str(error)!r} is taken"
    if isinstance(error, TooLarge):
        return 413, str(error)
    assert isinstance(error, DatabaseError)
    log.error("database.failed path=%s error=%s", path, error.orig)
    return 503, f"The database cannot be used: {error.orig}. Check the disk"


async def received(request: Request) -> bytes:
    """Return the body as bytes; answer 413 when it is too large."""
    raw = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY:
            raw += chunk
        elif size > MAX_DRAIN:
            break
    if size > MAX_BODY:
        raise ApiError(413, f"The request has more than {MAX_BODY:,} bytes, and no more are taken")
    return bytes(raw)


def parsed(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, empty for no body; answer 422 for any other content."""
    if not raw:
        return {}
    try:
        body = json.loads(raw.decode(), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ApiError(422, [_problem(["body"], "The body is not UTF-8", "json_invalid")]) from error
    except (ValueError, RecursionError) as error:
        raise ApiError(422, [_problem(["body"], f"JSON decode error: {error}", "json_invalid")]) from error
    if not isinstance(body, dict):
        raise ApiError(422, [_problem(["body"], "Input should be an object", "dict_type")])
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise ApiError(422, [_problem(["body"], f"Input is nested more than {MAX_DEPTH} deep", "recursion_loop")])
    return _whole(body) if b"\\ud" in raw.lower() else body


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """Parse a number and refuse an infinite one: 1e999 is valid JSON, but Python would write it as invalid JSON."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large")
    return number


def _depth(value: Any) -> int:
    """Return the depth of a value without recursion, which the stack's size would limit.

    A value that is accepted here must also be written later, from a deeper stack.
    """
    depth, level = 0, [value]
    while level:
        level = [inner for outer in level for inner in _inside(outer)]
        depth += 1
    return depth - 1


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _whole(value: Any) -> Any:
    """Return the value without halves of surrogate pairs (from a model's cut output), which no encoding accepts."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(k): _whole(v) for k, v in value.items()}
    return [_whole(v) for v in value] if isinstance(value, list) else value
