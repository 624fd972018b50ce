"""A double of the published control plane, written from docs/protocol.md: a real HTTP server, with its rows in memory.

with PublishedPlane(temporal="127.0.0.1:7233") as plane:
    ... plane.url, plane.key, plane.queue_id ...
    plane.world.executions, .turns, .approvals, .events ...: its rows
    plane.world.seen, plane.expect("POST", "/analytics/turns"): what was asked of it

It is no more lenient than the published server: ids are its own, types are refused, a judge overwrites statuses, the
stream ends by the workflow's close status. `world.broken` switches single rules off (rules.py). For what goes wrong:
`plane.outage()`, and `plane.fault = "500" | "404" | "hang"`, which is what each optional route then does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final

import requests
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.published_plane import analytics, approvals, entities, execute, executions, workers
from tests.support.published_plane.edge import Call, Entry, Object, Refusal, Seen, key_of, read
from tests.support.published_plane.world import World, now

__all__ = ["PublishedPlane", "Seen", "World"]

ENTRIES: Final = (
    *(executions.ENTRIES + analytics.ENTRIES + workers.ENTRIES + approvals.ENTRIES),
    *(execute.ENTRIES + entities.ENTRIES),
)
# Services behind the server that are not there (docs/protocol.md#a9, optional routes).
AWAY: Final = {"enforcer": 502, "context-graph": 502, "storage": 500}
METHODS: Final = ["GET", "POST", "PATCH", "PUT", "DELETE"]
LONGEST_HANG: Final = 600.0  # seconds


class PublishedPlane:
    def __init__(self, *, temporal: str = "127.0.0.1:1", port: int = 0, key: str = "published-key") -> None:
        self.world = World(key, temporal)
        self.fault = ""  # of every optional route
        self.faults: dict[str, str] = {}  # of the routes whose path begins so
        self.odd: dict[str, Callable[[Any], Any]] = {}  # what is answered instead, by a part of "METHOD /path"
        self.port = port
        self._gone = ""  # how an outage looks; empty: there is none
        self._more = threading.Condition()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = f"Bearer {key}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return self.world.key

    @property
    def queue_id(self) -> str:
        """Return the UUID of the queue `default`: the published server finds a queue only by its UUID."""
        return next(iter(self.world.queues))

    # -- life

    def __enter__(self) -> PublishedPlane:
        self.listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()
        self.stop()

    def listen(self) -> None:
        """Serve, at the same port as before."""
        # With its protocol named: asyncio turns Nagle's delay off only then, and each answer would take 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        app = Starlette(routes=[*(self._route(entry) for entry in ENTRIES), *self._others()])
        config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", access_log=False)
        config.timeout_graceful_shutdown = 1
        server = self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=server.run, args=([listener],), name="published-plane", daemon=True)
        self._thread.start()
        while not server.started:
            assert self._thread.is_alive(), "the published plane did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        """Refuse connections, and drop those that are open. Its rows stay."""
        assert self._server is not None and self._thread is not None
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(20)
        self.world.forget_temporal()

    @contextlib.contextmanager
    def outage(self, kind: str = "refused") -> Iterator[None]:
        """`refused`: nobody listens; `503`: a proxy answers in its place; `hang`: nothing answers."""
        if kind == "refused":
            self.stop()
        self._gone = kind
        try:
            yield
        finally:
            self._gone = ""
            if kind == "refused":
                self.listen()

    # -- what a test asks

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        options.setdefault("timeout", 30)
        return self.http.request(method, f"{self.url}/api/v1{path}", json=body, **options)

    def call(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        answer = self.ask(method, path, body)
        fits = answer.status_code == status if status is not None else answer.status_code < 400
        assert fits, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def expect(self, method: str, end: str, count: int = 1, timeout: float = 60.0) -> list[Seen]:
        """The requests whose path ends so, once there are `count` of them."""
        deadline = time.monotonic() + timeout
        with self._more:
            while len(found := self.world.sent(method, end)) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(found)} of {count} {method} …{end}: {[s.path for s in self.world.seen]}"
                self._more.wait(left)
        return found

    def agent(self, name: str = "agent", *, skills: list[Object] | None = None, **fields: Any) -> str:
        """A new agent with skills of its own, which the server keeps apart from agents."""
        ids = [str(self.call("POST", "/skills", {"name": s.get("type"), **s})["id"]) for s in skills or []]
        body = {"name": name, "model_id": "demo", "skill_ids": ids, **fields}
        return str(self.call("POST", "/agents", body)["id"])

    # -- serving

    def _route(self, entry: Entry) -> Route:
        async def serve(request: Request) -> Response:
            return await self._serve(entry, request)

        return Route(entry.prefix + entry.path, serve, methods=[entry.method])

    def _others(self) -> list[Route]:
        async def health(request: Request) -> Response:
            about = {"status": "healthy", "service": "agent-control-plane", "timestamp": now()}
            return JSONResponse({**about, "services": {}})

        async def away(request: Request) -> Response:
            if self.fault == "hang":
                await self._hang()
            return JSONResponse({"detail": "Bad Gateway"}, AWAY[request.url.path.split("/")[3]])

        async def nowhere(request: Request) -> Response:
            return JSONResponse({"detail": "Not Found"}, 404)

        paths = [f"/api/v1/{name}/{{rest:path}}" for name in AWAY]
        return [
            Route("/api/health", health),
            Route("/api/ready", health),
            *(Route(path, away, methods=METHODS) for path in paths),
            Route("/{rest:path}", self._remembered(nowhere), methods=METHODS),
        ]

    def _remembered(self, answer: Any) -> Any:
        async def serve(request: Request) -> Response:
            self._remember(request, None, 404)
            response: Response = await answer(request)
            return response

        return serve

    async def _serve(self, entry: Entry, request: Request) -> Response:
        if self._gone == "503":
            return Response("<html>upstream is away</html>", 503, media_type="text/html")
        if self._gone == "hang":
            await self._hang()
        raw, body = b"", None
        try:
            raw = await request.body()
            key = key_of(request, self.world)
            if key != self.world.key and self.world.holds("auth.unknown-key"):
                detail = {"error": "Unauthorized", "message": "Invalid token", "hint": "Send a valid API key"}
                raise Refusal(401, detail)
            if fault := self._fault(entry, request):
                if fault == "hang":
                    await self._hang()
                raise Refusal(int(fault), "Internal Server Error", plain=fault == "500")
            body = _loosely(raw)
            body, given = read(self.world, raw, entry)
            content = await entry.handler(Call(request, self.world, body, given, key))
            response = content if isinstance(content, Response) else _reply(self._odd(request, content), entry.status)
        except ClientDisconnect:
            response = Response(status_code=499)
        except Refusal as refusal:
            response = refusal.response()
        except Exception as error:  # a fault of the double, or what a rule that is off has let in
            traceback.print_exception(error)
            response = Refusal(500, "", plain=True).response()
        self._remember(request, body, response.status_code)
        return response

    def _fault(self, entry: Entry, request: Request) -> str:
        path = request.url.path.removeprefix("/api/v1")
        for start, fault in self.faults.items():
            if path.startswith(start):
                return fault
        return self.fault if entry.optional else ""

    def _odd(self, request: Request, content: Any) -> Any:
        for part, change in self.odd.items():
            if part in f"{request.method} {request.url.path.removeprefix('/api/v1')}":
                return change(content)
        return content

    async def _hang(self) -> None:
        ends = time.monotonic() + LONGEST_HANG
        while time.monotonic() < ends and (
            self._gone == "hang" or self.fault == "hang" or "hang" in self.faults.values()
        ):
            await asyncio.sleep(0.1)

    def _remember(self, request: Request, body: Any, status: int) -> None:
        scheme = request.headers.get("authorization", "").split(" ")[0].lower()
        path = request.url.path.removeprefix("/api/v1")
        query = dict(request.query_params)
        with self._more:
            self.world.seen.append(Seen(request.method, path, body, query, scheme, time.monotonic(), status))
            self._more.notify_all()


def _loosely(raw: bytes) -> Any:
    """The body for the record, whatever it is."""
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw.decode("utf-8", "replace")


def _reply(content: Any, status: int) -> Response:
    return Response(status_code=status) if content is None else JSONResponse(content, status)
