"""This module runs the local control plane inside the test, without a process, a port or Temporal."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from sqlalchemy import text

from kubiya_worker.server.app import create_app
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.sealing import KeyFile
from kubiya_worker.server.store.run_files import FOLDER
from kubiya_worker.server.store.seed import ensure_sample
from kubiya_worker.server.temporal import Temporal
from kubiya_worker.server.temporal_access import TemporalAccess
from tests.support import databases

Object = dict[str, Any]


class Api:
    """Serve the routes over a database of their own, with the sample agent and team: `with Api(folder) as api`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self.plane = self._loop.run_until_complete(self._open())

    async def _open(self) -> Plane:
        key = KeyFile(self.folder / "secrets.key")
        temporal = Temporal(TemporalAccess("127.0.0.1:1"))  # a port that no server has
        files = self.folder / FOLDER
        plane = Plane(databases.place(self.folder), temporal, secrets_key=key, files=files)
        # What Temporal is to be told stays in the outbox, where tests read it.
        plane.sender.wake = lambda execution_id: None  # type: ignore[method-assign]
        ensure_sample(plane, "local", "demo")
        transport = httpx.ASGITransport(app=create_app(plane))
        self._key = plane.stores.keys.create()
        self._http = httpx.AsyncClient(transport=transport, base_url="http://kubiya")
        return plane

    def __enter__(self) -> Api:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.run_until_complete(self._http.aclose())
        self._loop.close()
        self.plane.database.close()

    def ask(
        self, method: str, path: str, body: Any = None, *, key: bool = True, headers: Any = None, **options: Any
    ) -> httpx.Response:
        """Send a request under /api/v1, or elsewhere for a path with two slashes; with the first key, unless told."""
        return self._loop.run_until_complete(self.send(method, path, body, key=key, headers=headers, **options))

    async def send(
        self, method: str, path: str, body: Any = None, *, key: bool = True, headers: Any = None, **options: Any
    ) -> httpx.Response:
        """Send a request as `ask` does, in a coroutine for `run`."""
        where = path[1:] if path.startswith("//") else f"/api/v1{path}"
        sent = {**({"Authorization": f"Bearer {self._key}"} if key else {}), **(headers or {})}
        return await self._http.request(method, where, json=body, headers=sent, **options)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop of the control plane."""
        self._loop.run_until_complete(work)

    def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request as it is, without a key."""
        return self._loop.run_until_complete(self._http.request(method, path, **options))

    def forget_cookies(self) -> None:
        self._http.cookies.clear()

    def call(self, method: str, path: str, body: Any = None, status: int | None = None, **options: Any) -> Any:
        answer = self.ask(method, path, body, **options)
        good = answer.status_code < 300 if status is None else answer.status_code == status
        assert good, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    # -- what most tests begin with

    def key(self, role: str, name: str = "Ada", **fields: Any) -> Object:
        """Make a key, and return what was answered with `headers` that use it."""
        made = self.call("POST", "/keys", {"name": name, "role": role, **fields}, 201)
        return {**made, "headers": {"Authorization": f"Bearer {made['key']}"}}

    def agent(self, **fields: Any) -> Object:
        made: Object = self.call("POST", "/agents", {"name": f"a-{uuid.uuid4()}", **fields})
        return made

    def execute(self, agent: str = "ops", **fields: Any) -> str:
        body = {"prompt": "Look.", "worker_queue_id": "default", **fields}
        return str(self.call("POST", f"/agents/{agent}/execute", body)["execution_id"])

    def told(self, execution_id: str) -> list[Object]:
        """Return what Temporal is to be told about an execution: {action, argument} in order."""
        query = text("select action, argument from outbox where execution_id = :key order by id")
        rows = self.plane.database.execute(query, {"key": execution_id}).all()
        return [{"action": action, "argument": json.loads(argument)} for action, argument in rows]

    def input_of(self, execution_id: str) -> Object:
        """Return the input with which the execution's workflow is to start."""
        first: Object = self.told(execution_id)[0]["argument"]
        return first

    def stored(self, table: str, key: str) -> Object:
        """Return the data of a row that no route shows."""
        data = self.plane.database.execute(text(f"select data from {table} where id = :key"), {"key": key}).scalar()
        found: Object = json.loads(data)
        return found
