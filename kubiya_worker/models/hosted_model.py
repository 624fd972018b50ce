"""This module is a light front for models on a network; the HTTP client or a provider's SDK loads at the first call.

Loading an SDK takes 0.5 to 2 s and 50 to 100 MB, so it happens once, in a thread, while the event loop continues.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from kubiya_worker import garbage
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.import_lock import IMPORTS
from kubiya_worker.models.base import Delta, ModelReply, ModelRequest
from kubiya_worker.models.connection import Connection

if TYPE_CHECKING:
    from kubiya_worker.models.session import ProviderSession


class ProviderClient:
    """One provider's connections, shared by all its models."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._session: ProviderSession | None = None
        self._loading = asyncio.Lock()

    async def session(self) -> ProviderSession:
        """Return the loaded session; raise ConfigurationError when a package cannot be imported."""
        if self._session is None:
            async with self._loading:
                if self._session is None:
                    self._session = await asyncio.to_thread(self._load)
                    garbage.keep_loaded()
        return self._session

    def _load(self) -> ProviderSession:
        try:
            with IMPORTS:
                module = importlib.import_module(f"{__package__}.session")
                session: ProviderSession = module.open_session(self.connection)
        except ImportError as error:
            if self.connection.chat:  # every worker has it, so it was replaced under this one: a passing fault
                raise
            extra = f"[{self.connection.provider}]"
            raise ConfigurationError(
                f"The packages for models of {self.connection.provider!r} cannot be imported: {error}",
                remedy=f"Run `pip install 'kubiya-worker{extra}'` in the worker's environment",
            ) from error
        except Exception as error:  # each SDK raises its own: no region, a broken profile, a missing certificate
            raise ConfigurationError(
                f"The client for models of {self.connection.provider!r} cannot be set up: {error}",
                remedy="Check the provider's variables in the worker's environment",
            ) from error
        return session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class HostedModel:
    """A provider's model, under the provider's own name for it."""

    def __init__(self, client: ProviderClient, name: str) -> None:
        self._client = client
        self._name = name

    @property
    def label(self) -> str:
        return f"{self._name} at {self._client.connection.place}"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | ModelReply, None]:
        session = await self._client.session()
        async with aclosing(session.stream(self._name, request)) as items:
            async for item in items:
                yield item
