"""This module holds one provider's open connections and streams calls; hosted_model.py loads it at the first call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Protocol

from kubiya_worker.models.base import Delta, ModelError, ModelReply, ModelRequest
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.piece_timeout import PieceTimeout


class Answering(Protocol):
    """An answer that is being read: deltas, then the reply; both raise ModelError, or an error of the endpoint's."""

    @property
    def complete(self) -> bool:
        """Return whether the model has said why it stopped; an error after that must not cause a second, paid call."""
        ...

    def deltas(self) -> AsyncIterator[Delta]: ...

    def reply(self) -> ModelReply: ...


class ProviderEndpoint(Protocol):
    """One provider's connections; chat_endpoint.py and native_endpoint.py have one."""

    def open(self, name: str, request: ModelRequest, pace: PieceTimeout) -> AbstractAsyncContextManager[Answering]: ...

    def fault(self, error: Exception, *, streaming: bool) -> Exception:
        """Return the ModelError for an error of `open`; the error itself when it is a bug of ours."""
        ...

    async def close(self) -> None: ...


def open_session(connection: Connection) -> ProviderSession:
    """Return the session for `connection`; raise ImportError when the provider's package is missing."""
    if connection.chat:
        from kubiya_worker.models import chat_endpoint

        return ProviderSession(connection, chat_endpoint.ChatEndpoint(connection))
    from kubiya_worker.models import native_endpoint

    return ProviderSession(connection, native_endpoint.NativeEndpoint(connection))


class ProviderSession:
    """Stream calls to a provider."""

    def __init__(self, connection: Connection, endpoint: ProviderEndpoint) -> None:
        self._connection = connection
        self._endpoint = endpoint

    async def close(self) -> None:
        await self._endpoint.close()

    async def stream(self, name: str, request: ModelRequest) -> AsyncGenerator[Delta | ModelReply, None]:
        """Yield deltas, then the reply; raise ModelError."""
        pace = PieceTimeout(self._connection, request.settings.get("timeout"))
        answering: Answering | None = None
        async with AsyncExitStack() as stack:
            try:
                answering = await pace.wait(stack.enter_async_context(self._endpoint.open(name, request, pace)))
                async for delta in answering.deltas():
                    yield delta
            except Exception as error:
                if answering is None or not answering.complete:
                    # Raise it without its cause: causes are recorded, and the provider's words may hold a key.
                    raise self._fault(error, streaming=answering is not None) from None
            yield answering.reply()

    def _fault(self, error: Exception, *, streaming: bool) -> Exception:
        return error if isinstance(error, ModelError) else self._endpoint.fault(error, streaming=streaming)
