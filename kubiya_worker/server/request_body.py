"""This module reads the body of a request: bytes up to a limit, and a JSON object that can be stored as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from starlette.requests import Request

from kubiya_worker.server.edges.problems import problem
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.request_headers import headers_of

MAX_BODY: Final = 8 * 1024 * 1024  # bytes
MAX_DEPTH: Final = 100  # depth of arrays and objects in a body


async def received(request: Request, most: int = MAX_BODY) -> bytes:
    """Return the body as bytes; answer 413 as soon as it is known to be too large. It is read once, and then kept."""
    known: bytes | None = getattr(request.state, "received", None)
    if known is not None:
        return known
    announced = headers_of(request).get("content-length", "")
    too_large = announced.isdecimal() and int(announced) > most
    raw = bytearray()
    if not too_large:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > most:
                too_large = True
                break
    if too_large:
        raise ApiError(413, f"The request has more than {most:,} bytes, and no more are taken")
    body = request.state.received = bytes(raw)
    return body


def parsed(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, empty for no body; answer 422 for any other content."""
    if not raw:
        return {}
    try:
        body = _decode(raw.decode())
    except UnicodeDecodeError as error:
        raise ApiError(422, [problem(["body"], "The body is not UTF-8", "json_invalid")]) from error
    except (ValueError, RecursionError) as error:
        raise ApiError(422, [problem(["body"], f"JSON decode error: {error}", "json_invalid")]) from error
    if not isinstance(body, dict):
        raise ApiError(422, [problem(["body"], "Input should be an object", "dict_type")])
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise ApiError(422, [problem(["body"], f"Input is nested more than {MAX_DEPTH} deep", "recursion_loop")])
    return _whole(body) if b"\\ud" in raw.lower() else body


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """Parse a number and refuse an infinite one: 1e999 is valid JSON, but Python would write it as invalid JSON."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large")
    return number


_decode: Final = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite).decode


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
