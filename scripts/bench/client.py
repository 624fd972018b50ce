"""A client that costs little: raw HTTP on asyncio, so that what is measured is the product and not its watcher."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from typing import Any


class ApiClient:
    """Speaks to one control plane. Each call has a connection of its own from a small pool."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._host, self._port, self._key = host, port, key
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()  # the server has closed it, because it was idle for long: peers had their turn
        return await asyncio.open_connection(self._host, self._port)

    def _head(self, method: str, path: str, length: int, more: str = "") -> bytes:
        return (
            f"{method} /api/v1{path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
        ).encode()

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reader, writer = await self._connect()
        raw = json.dumps(body).encode()
        writer.write(self._head("POST", path, len(raw)) + raw)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        answer: dict[str, Any] = json.loads(await reader.readexactly(length))
        assert head.split(" ", 2)[1].startswith("2"), (head, answer)
        self._idle.append((reader, writer))
        return answer

    async def execute(self, agent: str, queue: str, prompt: str, folder: str = "") -> str:
        body: dict[str, Any] = {"prompt": prompt, "worker_queue_id": queue}
        if folder:
            body["execution_environment"] = {"working_dir": folder}
        answer = await self.post(f"/agents/{agent}/execute", body)
        return str(answer["execution_id"])

    async def events(self, execution: str) -> AsyncGenerator[tuple[str, str], None]:
        """(type, data as it came) of each event of the stream, from the first on."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=2**20)
        try:
            writer.write(self._head("GET", f"/executions/{execution}/stream", 0, "Last-Event-ID: 0\r\n"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head, head
            kind = ""
            while line := await reader.readline():
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, value
        finally:
            writer.close()

    async def done(self, execution: str) -> str:
        """The status with which the stream's `done` comes."""
        async with contextlib.aclosing(self.events(execution)) as events:
            async for kind, data in events:
                if kind == "done":
                    return str(json.loads(data)["status"])
        raise AssertionError(f"the stream of {execution} ended without done")

    async def run(self, agent: str, queue: str, prompt: str, folder: str = "") -> float:
        """Seconds from the request to its `done`, which has to say completed."""
        began = time.monotonic()
        execution = await self.execute(agent, queue, prompt, folder)
        status = await self.done(execution)
        took = time.monotonic() - began
        assert status == "completed", (execution, status)
        return took

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        self._idle.clear()
