"""Small requests to a control plane that is reached without TLS and proxy, made by the event loop itself.

A request in a thread takes and releases the interpreter lock about ten times, which costs a busy worker more than the
rest of the request. This client makes only the usual request: where it cannot, or where the answer is no success, the
caller makes the request again in a thread (`WriteRequests.groups`). A write that is made twice has the same effect
as one. docs/decisions/013-http-clients.md has the figures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.control_plane.json_values import decoded
from kubiya_worker.control_plane.small_bodies import LARGEST

TIMEOUT: Final = 3.0  # seconds for a whole request
DISABLED_FOR: Final = 30.0  # seconds without this client after it failed: in an outage no write should wait twice
IDLE: Final = 8  # connections that are kept
_FAILURES: Final = (OSError, EOFError, ValueError, RecursionError, asyncio.LimitOverrunError)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class DirectConnections:
    """Connections to one control plane, for one event loop."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self._host, self._port = host, port
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "accept-encoding"]
        place = f"[{host}]" if ":" in host else host
        self._head = "".join([f"Host: {place}:{port}\r\n", *lines, "Content-Type: application/json\r\n"])
        self._idle: list[Connection] = []
        self._disabled_until = 0.0

    async def call(self, method: str, path: str, body: bytes) -> Any:
        """Return the JSON of a successful answer; None for any other, and where there is none."""
        if time.monotonic() < self._disabled_until:
            return None
        reused = self._idle_connection()
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = reused or await asyncio.open_connection(self._host, self._port)
                return await self._exchange(connection, method, path, body)
        except _FAILURES as error:  # a timeout is an OSError
            # A server may close a connection at the moment when it is used again.
            if reused is None or not isinstance(error, (EOFError, ConnectionError)):
                self._disabled_until = time.monotonic() + DISABLED_FOR
            return None

    async def _exchange(self, connection: Connection, method: str, path: str, body: bytes) -> Any:
        reader, writer = connection
        complete = False
        try:
            head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode("latin-1") + body)
            status, length = _parsed(await reader.readuntil(b"\r\n\r\n"))
            data = await reader.readexactly(length)
            complete = True
        finally:
            if complete and len(self._idle) < IDLE:
                self._idle.append((reader, writer))
            else:
                writer.close()
        if not 200 <= status < 300:
            return None
        return decoded(data) if length <= LARGEST else await asyncio.to_thread(decoded, data)

    def _idle_connection(self) -> Connection | None:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():  # else the server has closed it meanwhile
                return reader, writer
            writer.close()
        return None

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()
        self._disabled_until = float("inf")


def _parsed(head: bytes) -> tuple[int, int]:
    """Return the status and the length of the body. ValueError for an answer of another form than uvicorn's."""
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = status_line.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if version != "HTTP/1.1" or headers.get("connection", "").lower() == "close" or "content-encoding" in headers:
        raise ValueError(status_line)
    return int(status), int(headers["content-length"]) if "content-length" in headers else _no_length(status_line)


def _no_length(status_line: str) -> int:
    raise ValueError(f"{status_line}: no length")
