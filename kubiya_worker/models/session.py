"""This module holds one provider's open connections and streams calls; hosted_model.py loads it at the first call."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic_ai.direct import model_request_stream
from pydantic_ai.models import Model as ProviderModel

from kubiya_worker.models import conversion, faults, native_messages, request_settings
from kubiya_worker.models.base import Delta, ModelError, ModelReply, ModelRequest
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.events import EventReading

if TYPE_CHECKING:
    from kubiya_worker.models.connection import Make, Shut

T = TypeVar("T")


def open_session(connection: Connection) -> ProviderSession:
    """Return the session for `connection`; raise ImportError when the provider's package is missing."""
    if connection.chat:
        from kubiya_worker.models import openai

        return ProviderSession(connection, *openai.connect(connection))
    from kubiya_worker.models import provider_sdks

    return ProviderSession(connection, *provider_sdks.connect(connection))


class Answering(Protocol):
    """An answer that is being read: deltas, then the reply; both raise ModelError or pydantic-ai's exceptions."""

    @property
    def complete(self) -> bool:
        """Return whether the model has said why it stopped; an error after that must not cause a second, paid call."""
        ...

    def deltas(self) -> AsyncIterator[Delta]: ...

    def reply(self) -> ModelReply: ...


class ProviderSession:
    """Stream calls to a provider; `make` builds its model from a name, `shut` closes its connections."""

    def __init__(self, connection: Connection, make: Make, shut: Shut) -> None:
        self._connection = connection
        self._make = make
        self._shut = shut
        self._models: dict[str, ProviderModel] = {}

    async def close(self) -> None:
        await self._shut()

    async def stream(self, name: str, request: ModelRequest) -> AsyncGenerator[Delta | ModelReply, None]:
        """Yield deltas, then the reply; raise ModelError."""
        pace = PieceTimeout(self._connection, request.settings.get("timeout"))
        answering: Answering | None = None
        async with AsyncExitStack() as stack:
            try:
                answering = await pace.wait(stack.enter_async_context(self._open(name, request, pace)))
                async for delta in answering.deltas():
                    yield delta
            except Exception as error:
                if answering is None or not answering.complete:
                    # Raise it without its cause: causes are recorded, and the provider's words may hold a key.
                    raise self._fault(error, streaming=answering is not None) from None
            yield answering.reply()

    @asynccontextmanager
    async def _open(self, name: str, request: ModelRequest, pace: PieceTimeout) -> AsyncIterator[Answering]:
        if name not in self._models:
            self._models[name] = self._make(name)
        model = self._models[name]
        messages = conversion.to_messages(request.system_prompt, request.messages)
        if not self._connection.chat:
            messages = native_messages.fitted(messages, self._connection.provider)
        settings = request_settings.settings_of(name, request, self._connection)
        parameters = conversion.to_tools(request.tools)
        if not self._connection.chat:
            async with model_request_stream(
                model, messages, model_settings=settings, model_request_parameters=parameters
            ) as response:
                yield EventReading(response, self._connection, pace.wait)
            return
        from kubiya_worker.models.openai import ChatModel
        from kubiya_worker.models.wire.answer_reader import Reading

        assert isinstance(model, ChatModel)
        tools = [tool.name for tool in request.tools]
        async with model.opened(messages, settings, parameters) as answer:
            yield Reading(answer, self._connection, name, model.system, tools, pace.wait)

    def _fault(self, error: Exception, *, streaming: bool) -> Exception:
        if isinstance(error, ModelError):
            return error
        secrets, place = self._connection.secrets, self._connection.place
        found = faults.fault(error, place, streaming=streaming, secrets=secrets)
        if found is None and not self._connection.chat and not streaming:
            return faults.unsendable(error, place, secrets)
        return found or error


class PieceTimeout:
    """The time limits of a call: the connection's idle timeout for each piece, and `limit` seconds for the whole."""

    def __init__(self, connection: Connection, limit: Any) -> None:
        self._place = connection.place
        self._idle = connection.idle_timeout
        self._limit = float(limit) if isinstance(limit, (int, float)) and limit > 0 else None
        self._started = asyncio.get_running_loop().time()

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Return the result of `awaitable`; raise ModelError when it takes too long."""
        left = math.inf
        if self._limit is not None:
            left = self._started + self._limit - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(self._idle, left)):
                return await awaitable
        except TimeoutError:
            if self._limit is not None and left < self._idle:
                raise faults.overtime(self._place, self._limit) from None
            raise faults.silence(self._place, self._idle) from None
