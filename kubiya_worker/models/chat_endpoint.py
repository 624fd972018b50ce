"""This module sends requests to an OpenAI-compatible endpoint: a registration's gateway, OpenAI itself, and others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx2

import kubiya_worker
from kubiya_worker.models import faults
from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.connection import CONNECT_TIMEOUT, READ_SLACK, Connection
from kubiya_worker.models.piece_timeout import PieceTimeout
from kubiya_worker.models.provider_report import ProviderReport
from kubiya_worker.models.wire import chat_request, outgoing
from kubiya_worker.models.wire.answer_reader import Reading
from kubiya_worker.tracing import current

NO_KEY: Final = "none"  # local servers need none, and some refuse a request without the header
LARGEST_ERROR: Final = 1_000_000  # bytes that are read of an error's body
KEPT_ALIVE: Final = 100  # connections that stay open between calls


class NoSuccess(Exception):
    """The endpoint answered with a status that is no success."""

    def __init__(self, report: ProviderReport) -> None:
        super().__init__(f"status {report.status}")
        self.report = report


class ChatEndpoint:
    """The connections to one endpoint; an answer is opened here and read by models/wire."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._url = _completions(connection.base_url)
        self._refused: dict[str, frozenset[str]] = {}  # by model: fields that the endpoint refuses
        self._client = httpx2.AsyncClient(
            headers=_headers(connection),
            timeout=httpx2.Timeout(connection.idle_timeout + READ_SLACK, connect=CONNECT_TIMEOUT),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=KEPT_ALIVE),
        )

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def open(self, name: str, request: ModelRequest, pace: PieceTimeout) -> AsyncIterator[Reading]:
        """Yield the answer to a request; raise ModelError, or what httpx2 raises."""
        response = await self._sent(name, request)
        try:
            tools = [tool.name for tool in request.tools]
            yield Reading(response, self._connection, name, self._connection.label, tools, pace.wait)
        finally:
            await response.aclose()

    def fault(self, error: Exception, *, streaming: bool) -> Exception:
        """Return the ModelError for an error of `open`; the error itself when it is a bug of ours."""
        place, secrets = self._connection.place, self._connection.secrets
        if isinstance(error, NoSuccess):
            return faults.reported(error.report, place, secrets)
        if isinstance(error, httpx2.HTTPError):
            if streaming:
                return faults.broke_off(place, _words(error), secrets)
            return faults.unreachable(place, _words(error), secrets)
        if isinstance(error, httpx2.InvalidURL):
            return faults.unreachable(place, str(error), secrets)
        return error

    async def _sent(self, name: str, request: ModelRequest) -> httpx2.Response:
        """Return the open response. Raise NoSuccess, or what httpx2 raises.

        An endpoint may refuse a field that the worker adds, or to get back one that it has sent itself. Without a
        second try, which leaves the field out, the conversation would fail for ever.
        """
        before = self._refused.get(name, frozenset())
        body = chat_request.body_of(name, request, self._connection, before)
        try:
            return await self._post(request, body)
        except NoSuccess as error:
            sent = chat_request.extra_fields(body["messages"], outgoing.KNOWN) | chat_request.dispensable(body)
            refused = outgoing.refused_fields(error.report.status, error.report.body, sent)
            if not refused:
                raise
            body = chat_request.body_of(name, request, self._connection, before | refused)
            try:
                response = await self._post(request, body)
            except NoSuccess:
                raise error from None
            self._refused[name] = before | refused
            return response

    async def _post(self, request: ModelRequest, body: chat_request.Body) -> httpx2.Response:
        extra = chat_request.deviations_of(request, self._connection).extra_headers
        headers = {"Content-Type": "application/json", **extra, **current.model_headers()}
        sent = self._client.build_request("POST", self._url, content=chat_request.encoded(body), headers=headers)
        response = await self._client.send(sent, stream=True)
        if response.is_success:
            return response
        try:
            raise NoSuccess(ProviderReport(response.status_code, await _text(response), response.headers))
        finally:
            await response.aclose()


def _completions(base_url: str) -> str:
    """Return the address of chat completions; a query of the base address stays behind the path."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/chat/completions"))


def _headers(connection: Connection) -> dict[str, str]:
    """Return the headers of each request; those of OPENAI_CUSTOM_HEADERS replace ours, whatever their case."""
    chosen = httpx2.Headers(
        {
            "Accept": "application/json",
            "User-Agent": f"kubiya-worker/{kubiya_worker.__version__}",
            "Authorization": f"Bearer {connection.api_key or NO_KEY}",
        }
    )
    for variable, header in (("OPENAI_ORG_ID", "OpenAI-Organization"), ("OPENAI_PROJECT_ID", "OpenAI-Project")):
        if connection.environ.get(variable):
            chosen[header] = connection.environ[variable]
    chosen.update(connection.custom_headers("OPENAI_CUSTOM_HEADERS"))
    return dict(chosen)


async def _text(response: httpx2.Response) -> str | None:
    """Return the text of an error's body, as far as it can be read; None when it is empty."""
    read = bytearray()
    try:
        async for piece in response.aiter_bytes():
            read += piece
            if len(read) > LARGEST_ERROR:
                break
    except (httpx2.HTTPError, httpx2.StreamError):  # the status alone has to do
        pass
    text = bytes(read[:LARGEST_ERROR]).decode(response.encoding or "utf-8", "replace")
    return text if text.strip() else None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
