"""This module makes one HTTP request to addresses that were checked before; nothing of this process's own goes out.

The name is resolved once, and the connection goes to one of the checked addresses: no proxy, cookie or netrc of the
environment, and no redirect that is followed unseen.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from kubiya_worker import __version__, addresses

Resolve = Callable[[str, int], Awaitable[Sequence[addresses.Address]]]


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    reason: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    cut: bool
    url: str


async def lookup(host: str, port: int) -> Sequence[addresses.Address]:
    try:
        resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise addresses.RequestRefused(f"The name {host} cannot be resolved ({error.strerror or error})") from None
    return [ipaddress.ip_address(str(entry[4][0])) for entry in resolved]


def http_errors() -> tuple[type[Exception], ...]:
    import httpcore2

    return (
        httpcore2.ProtocolError,
        httpcore2.NetworkError,
        httpcore2.TimeoutException,
        httpcore2.UnsupportedProtocol,
        zlib.error,
    )


async def exchange(
    method: str,
    target: addresses.Target,
    reachable: Sequence[addresses.Address],
    headers: Mapping[str, str],
    data: bytes | None,
    limit: int,
) -> HttpAnswer:
    """Make one request to checked addresses; the server and its certificate are still addressed by the name."""
    import httpcore2  # import here, so that what makes no request does not load it

    backend: Any = _Pinned(reachable)
    sent = {"user-agent": f"kubiya-worker/{__version__}", "accept": "*/*", **headers, "accept-encoding": "identity"}
    async with (
        httpcore2.AsyncConnectionPool(network_backend=backend, max_connections=1) as pool,
        pool.stream(
            method,
            _wire_url(target),
            headers=[(k.encode(), v.encode("latin-1")) for k, v in sent.items()],
            content=data,
        ) as answer,
    ):
        received_headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in answer.headers}
        body, cut = await _read(answer, received_headers.get("content-encoding", ""), limit)
        reason = answer.extensions.get("reason_phrase", b"").decode("latin-1")
        return HttpAnswer(answer.status, reason, received_headers, body, cut, target.url)


def _wire_url(target: addresses.Target) -> str:
    """Return the URL with the checked host, so that nothing interprets the original spelling a second time."""
    parts = urlsplit(target.url)
    host = f"[{target.host}]" if ":" in target.host else target.host
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]") if parts.query else ""
    return f"{target.scheme}://{host}:{target.port}{path}{query}"


class _Pinned:
    """Connect to the given addresses whatever the host's name; `httpcore2` does the rest, including TLS by name."""

    def __init__(self, reachable: Sequence[addresses.Address]) -> None:
        import httpcore2

        self._reachable = reachable
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Any:
        import httpcore2

        failure: Exception | None = None
        for address in self._reachable[:4]:
            try:
                return await self._backend.connect_tcp(str(address), port, timeout=10.0)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore2.ConnectError("no address")

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        raise NotImplementedError  # no proxy and no socket is ever configured

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _read(answer: Any, encoding: str, limit: int) -> tuple[bytes, bool]:
    """Return at most `limit` bytes of the decoded body, and whether there was more.

    A compression bomb is never unpacked whole.
    """
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise addresses.RequestRefused(f"The server answered in the encoding {encoding[:40]}, which is not read")
    decoder = zlib.decompressobj(47) if encoding not in ("", "identity") else None  # 47: gzip or zlib, by its header
    body = bytearray()
    async for chunk in answer.aiter_stream():
        room = limit + 1 - len(body)
        body += decoder.decompress(chunk, room) if decoder else chunk[:room]
        if len(body) > limit:
            return bytes(body[:limit]), True
    return bytes(body), False
