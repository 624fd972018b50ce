"""This module connects to Anthropic, Google and Bedrock by their own APIs, each an extra, with their retries off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx2

from kubiya_worker import aws
from kubiya_worker.models.connection import CONNECT_TIMEOUT, READ_SLACK, Connection
from kubiya_worker.models.faults import Moved
from kubiya_worker.models.native_streams import (
    CleanStream,
    ConverseStream,
    Shaper,
    Written,
    anthropic_bytes,
    google_bytes,
)
from kubiya_worker.models.wire.anthropic_events import AnthropicEvents
from kubiya_worker.models.wire.converse_events import restored
from kubiya_worker.models.wire.google_chunks import GoogleChunks

if TYPE_CHECKING:
    from pydantic_ai.models import Model as ProviderModel

    Make = Callable[[str], ProviderModel]  # makes the provider's model from its name
    Shut = Callable[[], Awaitable[None]]  # closes the provider's connections


def connect(connection: Connection) -> tuple[Make, Shut]:
    """Return what makes models and closes connections; raise ImportError when the extra is not installed."""
    makers = {"anthropic": _anthropic, "google": _google, "bedrock": _bedrock}
    return makers[connection.provider](connection)


async def refuse_redirect(response: httpx2.Response) -> None:
    """Raise Moved for a redirect: the packages follow it, or take its page for an answer."""
    if response.is_redirect:
        raise Moved(response.status_code, response.headers.get("location", ""))


def cleaned_by(make: Callable[[], Shaper], written: Written) -> Callable[[httpx2.Response], Awaitable[None]]:
    """Return a hook that puts a clean stream in the place of a response's own."""

    async def clean(response: httpx2.Response) -> None:
        if response.status_code == 200 and isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = CleanStream(response, make(), written)
            for name in ("content-encoding", "content-length"):
                response.headers.pop(name, None)  # the clean stream is decoded, and has another length

    return clean


def _timeout(connection: Connection) -> httpx2.Timeout:
    return httpx2.Timeout(connection.idle_timeout + READ_SLACK, connect=CONNECT_TIMEOUT)


def _anthropic(connection: Connection) -> tuple[Make, Shut]:
    from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient  # type: ignore[import-not-found,unused-ignore]
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    # Without this client a redirect would be followed, with the key in its header, to wherever it leads.
    hooks = {"response": [refuse_redirect, cleaned_by(AnthropicEvents, anthropic_bytes)]}
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
    hooks = {"response": [refuse_redirect, cleaned_by(GoogleChunks, google_bytes)]}
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
    ask = client.converse_stream

    def converse_stream(**fields: Any) -> dict[str, Any]:
        response = ask(**{**fields, "messages": restored(fields.get("messages"))})
        return {**response, "stream": ConverseStream(response)}

    client.converse_stream = converse_stream
    provider = BedrockProvider(bedrock_client=client)

    def make(name: str) -> Any:
        return BedrockConverseModel(name, provider=provider)

    async def shut() -> None:
        await asyncio.to_thread(client.close)

    return make, shut
