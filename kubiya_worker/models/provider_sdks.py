"""This module connects to Anthropic, Google and Bedrock by their own APIs, each an extra, with their retries off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2

from kubiya_worker import aws
from kubiya_worker.models.connection import CONNECT_TIMEOUT, READ_SLACK, Connection
from kubiya_worker.models.faults import Moved, NoStream

if TYPE_CHECKING:
    from kubiya_worker.models.connection import Make, Shut


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
    client = httpx2.AsyncClient(timeout=_timeout(connection), event_hooks={"response": [streams_only]})
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
