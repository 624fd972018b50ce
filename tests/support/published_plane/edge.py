"""The edge of the double: who is asking, what the body must be, and how a refusal looks (docs/protocol.md#a1, #a11)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from tests.support.published_plane.world import World

SCHEMES: Final = ("bearer ", "userkey ", "baerer ")
INT_TOP: Final = 2**31

Object = dict[str, Any]


class Refusal(Exception):
    """An answer with an error. `plain`: as the text that a server sends whose handler has died."""

    def __init__(self, status: int, detail: Any, *, plain: bool = False) -> None:
        super().__init__(status, detail)
        self.status, self.detail, self.plain = status, detail, plain

    def response(self) -> Response:
        if self.plain:
            return PlainTextResponse("Internal Server Error", self.status)
        return JSONResponse({"detail": self.detail}, self.status)


def broken(why: str, *, plain: bool = False) -> Refusal:
    """The 500 of a value that the database refuses."""
    return Refusal(500, why, plain=plain)


def unknown(what: str, key: str) -> Refusal:
    return Refusal(404, f"{what} {key} not found")


@dataclass(frozen=True)
class Seen:
    """A request as it came, and what it was answered."""

    method: str
    path: str  # without /api/v1
    body: Any
    query: dict[str, str]
    scheme: str  # the first word of Authorization, in lower case
    at: float  # monotonic, seconds
    status: int = 0


@dataclass
class Call:
    request: Request
    world: World
    body: Object
    given: Any = None  # the body as its model has read it
    key: str = ""

    def text(self, name: str) -> str:
        return str(self.request.path_params[name])

    def query(self, name: str, default: str = "") -> str:
        return self.request.query_params.get(name, default)

    def uuid(self, name: str, *, plain: bool = False) -> str:
        """An id in the path; the database takes only UUIDs for one."""
        key = self.text(name)
        if self.world.holds("ids.no-uuid"):
            as_uuid(key, plain=plain)
        return key

    def found(self, rows: dict[str, Object], name: str, what: str) -> Object:
        key = self.uuid(name)
        if key not in rows:
            if not self.world.holds("ids.unknown"):
                return {"id": key}
            raise unknown(what, key)
        return rows[key]

    @property
    def set(self) -> Object:
        """Return the fields that the body sets, without those that it leaves out."""
        dumped: Object = self.given.model_dump(exclude_unset=True)
        return dumped


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Entry:
    """A route. `body`: the model of its body; `stored`: goes to the database; `optional`: may fail (`fault`)."""

    method: str
    path: str
    handler: Handler
    status: int = 200
    body: type[BaseModel] | None = None
    stored: bool = True
    optional: bool = False
    body_optional: bool = False
    prefix: str = field(default="/api/v1")


def as_uuid(text: str, *, plain: bool = False) -> str:
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError) as error:
        raise broken(f"invalid input syntax for type uuid: {text!r}", plain=plain) from error


def as_time(world: World, text: str | None) -> str | None:
    if text is not None and world.holds("values.time"):
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            raise broken(f"Invalid isoformat string: {text!r}") from error
    return text


def in_range(world: World, values: Object) -> None:
    """Counts are columns of 32 bits."""
    for name, value in values.items():
        if isinstance(value, int) and not -INT_TOP <= value < INT_TOP and world.holds("values.int-range"):
            raise broken(f"integer out of range: {name}")


def unstorable(value: Any) -> bool:
    """A text with a NUL or half a surrogate pair, which PostgreSQL does not take, anywhere in it."""
    if isinstance(value, str):
        return "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return any(unstorable(k) or unstorable(v) for k, v in value.items())
    return any(unstorable(v) for v in value) if isinstance(value, list) else False


def key_of(request: Request, world: World) -> str:
    """The key in any of the published forms; Authorization wins."""
    given = request.headers.get("authorization", "").strip()
    if not given:
        return request.headers.get("userkey", "").strip() if world.holds("auth.every-form") else ""
    for scheme in SCHEMES if world.holds("auth.every-form") else SCHEMES[:1]:
        if given.lower().startswith(scheme):
            return given[len(scheme) :].strip()
    return given if " " not in given and world.holds("auth.every-form") else ""


def read(world: World, raw: bytes, entry: Entry) -> tuple[Object, Any]:
    """The body, and the same as its model reads it. 422 as FastAPI answers; 500 for what is not storable."""
    if entry.body is None:
        body = _json(raw) if raw else {}
        return (body if isinstance(body, dict) else {}), None
    if not raw:
        if entry.body_optional or (entry.path.startswith("/approvals/") and not world.holds("approvals.body-required")):
            return {}, entry.body()
        raise Refusal(422, [{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}])
    body = _json(raw)
    if entry.stored and world.holds("values.nul") and unstorable(body):
        raise broken("invalid byte sequence for encoding: a NUL or half a surrogate pair")
    _mutate(world, entry, body)
    given = validated(world, entry.body, body)
    return (body if isinstance(body, dict) else {}), given


def _mutate(world: World, entry: Entry, body: Any) -> None:
    """Apply the effect of each switched-off rule that the models cannot switch off themselves."""
    if not isinstance(body, dict) or entry.body is None:
        return
    if not world.holds("types.unknown-fields") and set(body) - set(entry.body.model_fields):
        raise Refusal(422, [{"type": "extra_forbidden", "loc": ["body"], "msg": "Extra inputs are not permitted"}])
    if not world.holds("batch.execution-id") and entry.path == "/analytics/batch":
        for item in [*body.get("turns", []), *body.get("tool_calls", [])]:
            item.setdefault("execution_id", body.get("execution_id"))
    if not world.holds("execute.queue-required") and entry.path.endswith("/execute"):
        body.setdefault("worker_queue_id", "")


def validated(world: World, model: type[BaseModel], body: Any, where: tuple[str | int, ...] = ()) -> Any:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problems: list[Object] = [
            {"type": one["type"], "loc": ["body", *where, *one["loc"]], "msg": one["msg"]}
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        if not isinstance(body, dict):
            raise Refusal(422, problems) from error
        wanted = [one for one in problems if _counts(world, one, _at(body, one["loc"][1 + len(where) :]))]
        if wanted:
            raise Refusal(422, wanted) from error
        return model.model_construct(**{k: v for k, v in body.items() if k in model.model_fields})


def _counts(world: World, problem: Object, value: Any) -> bool:
    if problem["type"] == "missing":
        return world.holds("types.required")
    if problem["type"] == "int_from_float":
        return world.holds("types.fraction")
    if value is None:
        return world.holds("types.null-is-not-absent")
    if problem["loc"][1] == "system_info":
        return world.holds("start.system-info")
    if problem["loc"][-1] in ("tool_input", "tool_output"):
        return world.holds("tool-calls.input-object")
    if problem["type"] == "literal_error":
        return world.holds("teams.status")
    return world.holds("types.422")


def _at(body: Any, path: list[Any]) -> Any:
    for step in path:
        try:
            body = body[step]
        except (LookupError, TypeError):
            return None if body is None else ...
    return body


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        problem = {"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {}}
        raise Refusal(422, [problem]) from error
