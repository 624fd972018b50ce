"""A codec server: Temporal's page and CLI send payloads, and get them back readable (or encoded).

`POST /decode` and `POST /encode` take and return Temporal's `Payloads` as JSON. Every caller can read encrypted data,
so the server listens on loopback; on another address it requires a token. A web page gets an answer only if its origin
was named. Without a token a request for another host name than loopback's is refused, because any site can let its name
point to this machine.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

from kubiya_worker.errors import WorkerError

MAX_BODY: Final = 32 * 2**20  # bytes
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEADERS: Final = ("Authorization", "Content-Type", "X-Namespace")  # what Temporal's page sends


class _BadRequest(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(codec: PayloadCodec, origins: Sequence[str], token: str = "") -> Starlette:
    """Make the app. `origins` are those of pages that may read the answers.

    Without a token only requests to loopback's names are answered.
    """

    def route(path: str, work: Callable[[Sequence[Payload]], Awaitable[list[Payload]]]) -> Route:
        async def handle(request: Request) -> Response:
            try:
                _check(request, origins, token)
                done = Payloads(payloads=await work((await _payloads(request)).payloads))
            except _BadRequest as refused:
                return JSONResponse({"message": str(refused)}, refused.status)
            except WorkerError as error:
                return JSONResponse({"message": error.line()}, 400)
            return Response(json_format.MessageToJson(done, indent=None), media_type="application/json")

        return Route(path, handle, methods=["POST"])

    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["POST"],
        allow_headers=list(HEADERS),
        allow_credentials=True,
        max_age=600,
    )
    return Starlette(routes=[route("/decode", codec.decode), route("/encode", codec.encode)], middleware=[cors])


def _check(request: Request, origins: Sequence[str], token: str) -> None:
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins:
        raise _BadRequest(403, f"The origin {origin!r} is not allowed; start the codec server with --origin")
    if token:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(bearer.encode(), token.encode()):
            raise _BadRequest(401, "The token is missing or wrong: Authorization: Bearer TOKEN")
    elif _name(request.headers.get("host", "")) not in LOOPBACK:
        raise _BadRequest(403, "Without a token, only requests to 127.0.0.1 or localhost are answered")


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    head, _, port = host.rpartition(":")
    return head.lower() if head and port.isdecimal() else host.lower()


async def _payloads(request: Request) -> Payloads:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _BadRequest(413, f"At most {MAX_BODY >> 20} MiB")
    try:
        return json_format.Parse(body.decode(), Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise _BadRequest(400, 'The body is not {"payloads": [{"metadata": {…}, "data": …}]} in base64') from error
