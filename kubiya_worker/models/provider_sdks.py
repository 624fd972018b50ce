"""This module connects to Anthropic, Google and Bedrock by their own APIs, each an extra, with their retries off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import httpx2

from kubiya_worker import aws
from kubiya_worker.models.connection import CONNECT_TIMEOUT, READ_SLACK, Connection
from kubiya_worker.models.faults import Moved, NoStream

if TYPE_CHECKING:
    from pydantic_ai.models import Model as ProviderModel

    Make = Callable[[str], ProviderModel]  # makes the provider's model from its name
    Shut = Callable[[], Awaitable[None]]  # closes the provider's connections


_NO_DATA: Final = (b":", b"event:", b"id:", b"retry:")  # how lines of a stream begin that hold no data


def connect(connection: Connection) -> tuple[Make, Shut]:
    """Return what makes models and closes connections; raise ImportError when the extra is not installed."""
    makers = {"anthropic": _anthropic, "google": _google, "bedrock": _bedrock}
    return makers[connection.provider](connection)


async def streams_only(response: httpx2.Response) -> None:
    """Raise Moved for a redirect, and NoStream for a page or an error with status 200; each package takes these for
    something else.
    """
    if response.is_redirect:
        raise Moved(response.status_code, response.headers.get("location", ""))
    kind = str(response.headers.get("content-type") or "").lower()
    if response.status_code == 200 and ("html" in kind or "json" in kind):
        await response.aread()
        answer = NoStream(response.text, response.headers)
        if "candidates" not in answer.report.fields:  # Google's package reads a whole answer as a stream of one
            raise answer


async def data_only(response: httpx2.Response) -> None:
    """Leave comments and names of events out of a stream: Google's package takes each line for JSON."""
    plain = "content-encoding" not in response.headers
    if response.status_code == 200 and plain and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _DataLines(response.stream)


class _DataLines(httpx2.AsyncByteStream):
    def __init__(self, source: httpx2.AsyncByteStream) -> None:
        self._source = source

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = b""
        async for piece in self._source:
            *lines, rest = (rest + piece).split(b"\n")
            kept = b"".join(line + b"\n" for line in lines if not line.startswith(_NO_DATA))
            if kept:
                yield kept
        if rest and not rest.startswith(_NO_DATA):
            yield rest

    async def aclose(self) -> None:
        await self._source.aclose()


def _timeout(connection: Connection) -> httpx2.Timeout:
    return httpx2.Timeout(connection.idle_timeout + READ_SLACK, connect=CONNECT_TIMEOUT)


def _anthropic(connection: Connection) -> tuple[Make, Shut]:
    from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient  # type: ignore[import-not-found,unused-ignore]
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    # Without this client a redirect would be followed, with the key in its header, to wherever it leads.
    hooks = {"response": [streams_only]}
    http = DefaultAsyncHttpxClient(timeout=_timeout(connection), follow_redirects=False, event_hooks=hooks)
    client = AsyncAnthropic(
        api_key=connection.api_key,
        default_headers=connection.custom_headers("ANTHROPIC_CUSTOM_HEADERS"),
        max_retries=0,
        http_client=http,
    )
    provider = AnthropicProvider(anthropic_client=client)

    def make(name: str) -> Any:
        return AnthropicModel(name, provider=provider)

    return make, client.close


def _google(connection: Connection) -> tuple[Make, Shut]:
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    # Use our own client: nobody would close the one that the provider makes.
    hooks = {"response": [streams_only, data_only]}
    client = httpx2.AsyncClient(timeout=_timeout(connection), event_hooks=hooks)
    provider = GoogleProvider(api_key=connection.api_key, http_client=client)  # the client retries only if told to

    def make(name: str) -> Any:
        return GoogleModel(name, provider=provider)

    async def shut() -> None:
        await provider.client.aio.aclose()
        await client.aclose()

    return make, shut


def _bedrock(connection: Connection) -> tuple[Make, Shut]:
    from botocore.config import Config  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.providers.bedrock import BedrockProvider

    options: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "read_timeout": connection.idle_timeout}
    if connection.environ.get(aws.BEARER):  # boto3 prefers it only when it is in the process's environment
        options["signature_version"] = "bearer"
    session = aws.session(connection.environ)
    client = session.client("bedrock-runtime", region_name=connection.region or None, config=Config(**options))
    provider = BedrockProvider(bedrock_client=client)

    def make(name: str) -> Any:
        return BedrockConverseModel(name, provider=provider)

    async def shut() -> None:
        await asyncio.to_thread(client.close)

    return make, shut
