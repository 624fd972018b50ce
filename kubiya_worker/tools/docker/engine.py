"""This module speaks the HTTP API of a Docker engine for the skill `docker`: JSON calls, and streams of output.

It uses the client of the `http` skill, not the Docker SDK: a cancelled call ends at once, where a thread in the SDK
would wait until the engine answers, and no extra has to be installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

DEFAULT_ADDRESS: Final = "unix:///var/run/docker.sock"
CONNECT: Final = 10.0  # seconds
ANSWER: Final = 60.0  # seconds of one call
LARGEST: Final = 16 << 20  # bytes of one JSON answer
# The version of the API that this file was written for; an older engine is asked with its own version.
NEWEST: Final = (1, 47)


class EngineError(Exception):
    """The engine refused a call or cannot be reached; the message is for the model and for people."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class EngineAddress:
    """The address of an engine; `local` says that it shares this host's file system, as far as that can be known."""

    url: str
    socket: str = ""
    base: str = "http://docker"
    tls: bool = False

    @property
    def local(self) -> bool:
        return bool(self.socket)

    @classmethod
    def parse(cls, url: str, environ: Mapping[str, str]) -> EngineAddress:
        """Return the address; raise ValueError with the right form."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path.startswith("/"):
            return cls(url, socket=parts.path)
        if parts.scheme in ("tcp", "http", "https") and parts.hostname and parts.path in ("", "/"):
            tls = parts.scheme == "https" or bool(environ.get("DOCKER_TLS_VERIFY"))
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            port = parts.port or (2376 if tls else 2375)
            return cls(url, base=f"{'https' if tls else 'http'}://{host}:{port}", tls=tls)
        raise ValueError("unix:///path/of/docker.sock or tcp://host:port")


class Engine:
    """One engine during one tool call."""

    def __init__(self, pool: Any, address: EngineAddress) -> None:
        self._pool, self._address = pool, address
        self._base = address.base
        self.version = ""

    async def negotiate(self) -> None:
        """Choose the newest API version that both sides know.

        This is the first call, so it also shows a missing engine.
        """
        async with self._request("GET", "/_ping", None, None) as answer:
            headers = {key.lower(): value for key, value in answer.headers}
            version = headers.get(b"api-version", b"1.41").decode("latin-1")
        try:
            major, minor = (int(part) for part in version.split("."))
        except ValueError:
            raise EngineError(f"What answers at {self._address.url} is no Docker engine") from None
        self.version = ".".join(map(str, min((major, minor), NEWEST)))
        self._base = f"{self._address.base}/v{self.version}"

    async def get(self, path: str, **query: Any) -> Any:
        return await self.call("GET", path, query)

    async def call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None, within: float = ANSWER
    ) -> Any:
        """Return the answer's JSON, or None; raise EngineError, which says so if the call may have been carried out."""
        try:
            async with asyncio.timeout(within), self._request(method, path, query, body) as answer:
                text = bytearray()
                async for chunk in answer.aiter_stream():
                    text += chunk
                    if len(text) > LARGEST:
                        raise EngineError("The engine's answer is too long")
        except TimeoutError:
            doubt = "" if method == "GET" else "; whether it was done is not known, look before you repeat it"
            raise EngineError(f"The Docker engine did not answer within {within:g} seconds{doubt}") from None
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except ValueError:
            raise EngineError("The engine's answer is not JSON") from None

    @contextlib.asynccontextmanager
    async def chunks(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the answer as it arrives; leaving the context ends the request."""
        async with self._request(method, path, query, body) as answer:
            yield answer.aiter_stream()

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, query: Mapping[str, Any] | None, body: Any) -> AsyncIterator[Any]:
        import httpcore2

        parameters = {key: _text(value) for key, value in (query or {}).items() if value is not None}
        url = f"{self._base}{path}" + (f"?{urlencode(parameters)}" if parameters else "")
        content = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} if content is not None else {"content-length": "0"}
        try:
            async with self._pool.stream(
                method,
                url,
                headers=headers,
                content=content,
                extensions={"timeout": {"connect": CONNECT}},
            ) as answer:
                if answer.status >= 400:
                    raise EngineError(_message(await answer.aread(), answer.status), answer.status)
                yield answer
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise _unreachable(error, self._address) from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            doubt = "" if method == "GET" else "; whether the call was made is not known, look before you repeat it"
            raise EngineError(f"The Docker engine ended the exchange ({type(error).__name__}){doubt}") from None


@contextlib.asynccontextmanager
async def connected(address: EngineAddress) -> AsyncIterator[Engine]:
    """Yield an engine that answers; raise EngineError with the remedy."""
    import httpcore2  # import here, so that an execution without this skill does not load it

    tls = _tls(os.environ) if address.tls else None
    async with httpcore2.AsyncConnectionPool(uds=address.socket or None, ssl_context=tls, max_connections=4) as pool:
        engine = Engine(pool, address)
        try:
            async with asyncio.timeout(CONNECT):
                await engine.negotiate()
        except TimeoutError:
            raise EngineError(
                f"The Docker engine at {address.url} does not answer. Remedy: look at it (systemctl status docker)"
            ) from None
        yield engine


async def frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a program's output from the engine's frames: kind, three zero bytes, length in four bytes."""
    buffer = bytearray()
    left = 0  # bytes still missing of the first frame
    async for chunk in chunks:
        buffer += chunk
        while buffer:
            if not left:
                if len(buffer) < 8:
                    break
                left = int.from_bytes(buffer[4:8], "big")
                del buffer[:8]
                continue
            piece = bytes(buffer[:left])
            del buffer[:left]
            left -= len(piece)
            yield piece


def segment(name: str) -> str:
    """Return a name or an id as one part of a path."""
    return quote(name, safe="")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return value if isinstance(value, str) else json.dumps(value)


def _message(body: bytes, status: int) -> str:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode("utf-8", "replace")
    return f"The Docker engine refused: {' '.join(str(message).split())[:500] or f'HTTP {status}'}"


def _unreachable(error: Exception, address: EngineAddress) -> EngineError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PermissionError):
            return EngineError(
                f"This worker may not use the Docker engine at {address.url}. Remedy: add its user to the group docker "
                "(sudo usermod -aG docker USER, then restart the worker), or name another engine by `docker_host`"
            )
        cause = cause.__cause__ or cause.__context__
    return EngineError(
        f"No Docker engine answers at {address.url}. Remedy: start one on the worker's host (systemctl start docker), "
        "or name another by the skill's `docker_host` or the worker's DOCKER_HOST"
    )


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a TLS context like the docker command's: ca.pem, cert.pem, key.pem in DOCKER_CERT_PATH or ~/.docker."""
    folder = Path(environ.get("DOCKER_CERT_PATH") or "~/.docker").expanduser()
    try:
        context = ssl.create_default_context(cafile=folder / "ca.pem" if (folder / "ca.pem").exists() else None)
        if (folder / "cert.pem").exists():
            context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    except (OSError, ssl.SSLError) as error:
        raise EngineError(f"The certificates in {folder} cannot be used: {error}") from None
    return context
