"""This module asks Anthropic, Google and Bedrock by their own APIs, through pydantic-ai; each is an extra."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic_ai.direct import model_request_stream
from pydantic_ai.models import Model as ProviderModel

from kubiya_worker.models import conversion, faults, native_faults, native_messages, provider_sdks, request_settings
from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.events import EventReading
from kubiya_worker.models.piece_timeout import PieceTimeout


class NativeEndpoint:
    """One provider's connections, and its models by name; raise ImportError when its package is missing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._make, self._shut = provider_sdks.connect(connection)
        self._models: dict[str, ProviderModel] = {}

    async def close(self) -> None:
        await self._shut()

    @asynccontextmanager
    async def open(self, name: str, request: ModelRequest, pace: PieceTimeout) -> AsyncIterator[EventReading]:
        """Yield the answer to a request; raise ModelError, or an error of the provider's package."""
        if name not in self._models:
            self._models[name] = self._make(name)
        messages = conversion.to_messages(request.system_prompt, request.messages)
        async with model_request_stream(
            self._models[name],
            native_messages.fitted(messages, self._connection.provider),
            model_settings=request_settings.settings_of(name, request, self._connection),
            model_request_parameters=conversion.to_tools(request.tools),
        ) as response:
            yield EventReading(response, self._connection, pace.wait)

    def fault(self, error: Exception, *, streaming: bool) -> Exception:
        """Return the ModelError for an error of `open`; the error itself when it is a bug of ours."""
        place, secrets = self._connection.place, self._connection.secrets
        fault = native_faults.fault(error, place, streaming=streaming, secrets=secrets)
        if fault is None and not streaming:
            return faults.unsendable(error, place, secrets)
        return fault or error
