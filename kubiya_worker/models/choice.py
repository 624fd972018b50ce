"""This module chooses the model that serves a request (the order of protocol.md#d1), with one client per provider."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import caching, compatibility, listing
from kubiya_worker.models.base import Endpoint, Model
from kubiya_worker.models.compatibility import NOTHING, Compatibility, Endpoints, for_headers
from kubiya_worker.models.connection import GATEWAY, OPENAI_HOST, Connection
from kubiya_worker.models.demo import DemoModel
from kubiya_worker.models.hosted_model import HostedModel, ProviderClient
from kubiya_worker.models.prices import Prices
from kubiya_worker.models.recorded import RecordedModel
from kubiya_worker.models.routes import Route, Routing
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.protocol.names import DEFAULT_MODEL, DEMO_MODEL
from kubiya_worker.recording import RecordingFile

SMALLEST_WINDOW: Final = 512  # tokens; a smaller number cannot be a window
MOST_WINDOWS: Final = 1000  # the most models whose windows are remembered
OPENAI_URL: Final = "https://api.openai.com/v1"

# `provider:model` ids that do not go to the gateway: the package that the provider needs, if any, and the variable with
# its key. Bedrock finds its credentials by itself (profile, role, variables).
NATIVE: Final[Mapping[str, tuple[str, str]]] = {
    "openai": ("", "OPENAI_API_KEY"),
    "anthropic": ("anthropic", "ANTHROPIC_API_KEY"),
    "google": ("google.genai", "GOOGLE_API_KEY"),
    "bedrock": ("boto3", ""),
}

_NO_ENDPOINT: Final = (
    "Set LITELLM_API_BASE and LITELLM_API_KEY, or OPENAI_API_KEY (and OPENAI_BASE_URL when it is not OpenAI's server), "
    "or give the agent the model `demo` to try things offline"
)


def resolve(model_id: str | None, endpoint: Endpoint) -> str:
    """Return the model id to use: the override, else the agent's, else the worker's default, else the product's."""
    for choice in (endpoint.override, model_id, endpoint.default_model):
        if choice and choice.strip():
            return choice.strip()
    return DEFAULT_MODEL


def split(model_id: str) -> tuple[str, str]:
    """Return (provider, name) of a model id.

    `anthropic:claude-x` is Anthropic's own API. An id without a provider goes to the gateway unchanged.
    """
    provider, colon, name = model_id.partition(":")
    if colon and provider in NATIVE:
        return provider, name.strip()
    return GATEWAY, model_id


def installed(package: str) -> bool:
    """Return whether `package` can be imported, without importing it (its parent packages are imported)."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _client_name(route: Route) -> str:
    """Return the name of the client that a route shares with all routes that are reached in the same way."""
    return f"{route.provider} {route.base_url} {route.key} {route.compatibility.wire()}"


class Models:
    """The models of one worker; clients are made at first use, shared by all calls, and closed with `close()`."""

    def __init__(
        self,
        endpoint: Endpoint,
        environ: Mapping[str, str] | None = None,
        prices: Prices | None = None,
        routing: Routing | None = None,
        endpoints: Endpoints | None = None,
        recording: RecordingFile | None = None,
    ) -> None:
        """Take the worker's settings.

        `routing` names endpoints of single models; the demo model and provider-prefixed ids are never there.
        `endpoints` are the worker's compatibility settings. A `recording` takes the place of the demo model.
        """
        self._endpoint = endpoint
        self._recording = recording
        self._routing = routing or Routing()
        self._routes = self._routing.routes
        self._prices = prices or Prices()
        self._environ: Mapping[str, str] = os.environ if environ is None else environ
        self._endpoints = endpoints or Endpoints()
        self._variables = for_headers(self._environ)
        self._clients: dict[str, ProviderClient] = {}
        self._error_windows: dict[str, int] = {}  # windows that errors have named, by model id
        self._listed: dict[str, dict[str, int]] = {}  # windows that servers list, by the client's name
        self._listing: set[asyncio.Task[None]] = set()

    def resolve(self, model_id: str | None) -> str:
        """Return the model id to use for an execution that asks for `model_id`."""
        return resolve(model_id, self._endpoint)

    def offline(self, model_id: str) -> bool:
        """Return whether it is the demo model, which costs nothing and has no window."""
        return self.resolve(model_id) == DEMO_MODEL

    def check(self, model_config: Mapping[str, Any]) -> None:
        """Raise ConfigurationError for settings with which no model call could be made."""
        caching.setting(model_config)
        compatibility.of_agent(model_config, self._variables)

    def cached_for(self, model_id: str, model_config: Mapping[str, Any]) -> str:
        """Return how long the provider keeps the marked prefix of a request.

        Return an empty text when nothing is marked.
        """
        chosen = self.resolve(model_id)
        if chosen == DEMO_MODEL:
            return ""
        provider, name = split(chosen)
        if provider == GATEWAY and chosen in self._routes:
            provider, name = self._routes[chosen].provider, self._routes[chosen].upstream
        elsewhere = self._routing.covers(chosen)
        if provider == GATEWAY and urlsplit(self._endpoint.base_url).hostname == OPENAI_HOST and not elsewhere:
            return ""
        return caching.retention(model_config, provider, name)

    def nanos(self, model_id: str, usage: Usage, reported: str = "", kept: str = "") -> int | None:
        """Return the price of a call in 1e-9 USD, or None when it is unknown.

        `reported` is the provider's name of the model, `kept` how long tokens written to the prompt cache stay there.

        The first call loads the public table, which takes a moment, so do not call it in the event loop.
        """
        chosen = self.resolve(model_id)
        if chosen == DEMO_MODEL:
            return 0
        price = self._prices.nanos(chosen, usage, kept)
        if price is None and chosen in self._routes:
            price = self._prices.nanos(self._routes[chosen].upstream, usage, kept)
        return self._prices.nanos(reported, usage, kept) if price is None and reported else price

    def saved(self, model_id: str, usage: Usage, nanos: int, reported: str = "") -> int:
        """Return how much more, in 1e-9 USD, a call of this price would have cost without the prompt cache."""
        if not usage.cache_read_tokens and not usage.cache_creation_tokens:
            return 0
        uncached = self.nanos(model_id, replace(usage, cache_read_tokens=0, cache_creation_tokens=0), reported)
        return (uncached or 0) - nanos

    def window(self, model_id: str) -> int | None:
        """Return the model's context in tokens, or None when unknown; may load the public table, as `nanos` may.

        The worker's own table comes first, then what the endpoint has reported.
        """
        chosen = self.resolve(model_id)
        if chosen == DEMO_MODEL:
            return None
        own_window = self._prices.own_context(chosen) or self.reported_window(model_id)
        if own_window is not None:
            return own_window
        public_window = self._prices.context(chosen)
        if public_window is None and chosen in self._routes:
            public_window = self._prices.context(self._routes[chosen].upstream)
        return public_window

    def learn(self, model_id: str, window: int) -> None:
        """Remember the window that an error of the model's endpoint has named."""
        chosen = self.resolve(model_id)
        if len(self._error_windows) < MOST_WINDOWS or chosen in self._error_windows:
            self._error_windows[chosen] = window

    def reported_window(self, model_id: str) -> int | None:
        """Return the window that the model's endpoint has named in an error or in its list of models."""
        chosen = self.resolve(model_id)
        if chosen in self._error_windows:
            return self._error_windows[chosen]
        provider, name = split(chosen)
        if provider == GATEWAY and chosen in self._routes:
            name = self._routes[chosen].upstream
            provider = _client_name(self._routes[chosen])
        return self._listed.get(provider, {}).get(name)

    def look_up(self, model_id: str) -> None:
        """Ask the model's server once, in the background, for its list of models and their windows."""
        chosen = self.resolve(model_id)
        client_name = _client_name(self._routes[chosen]) if chosen in self._routes else split(chosen)[0]
        client = self._clients.get(client_name)
        if client is None or client_name in self._listed or not client.connection.chat or client.connection.official:
            return
        self._listed[client_name] = {}

        async def read_list() -> None:
            connection = client.connection
            headers = dict(connection.compatibility.extra_headers)
            endpoint = listing.ListedEndpoint(connection.place, connection.base_url, connection.api_key, headers)
            answer = await asyncio.to_thread(listing.ask, endpoint)
            self._listed[client_name] = {
                x.name: x.window for x in answer.models if x.window and x.window >= SMALLEST_WINDOW
            }

        task = asyncio.create_task(read_list())
        self._listing.add(task)
        task.add_done_callback(self._listing.discard)

    def select(self, model_id: str | None) -> Model:
        """Return the model that serves `model_id`; raise ConfigurationError when it has no endpoint, key or package."""
        chosen = self.resolve(model_id)
        if chosen == DEMO_MODEL:
            played = self._recording.now() if self._recording else None
            return RecordedModel(played) if played and played.plays_model else DemoModel()
        provider, name = split(chosen)
        if not name:
            raise ConfigurationError(f"The model id {chosen!r} names no model", remedy=f"Write `{provider}:<model>`")
        if provider == GATEWAY and self._routing.covers(chosen):
            return self._routed(chosen)
        if provider not in self._clients:
            self._clients[provider] = ProviderClient(self._connection(provider, chosen))
        return HostedModel(self._clients[provider], name)

    def _routed(self, chosen: str) -> Model:
        route = self._routes.get(chosen)
        if route is None:
            raise ConfigurationError(
                f"The model {chosen!r} is not in the proxy's model_list",
                remedy=f"There are: {', '.join(sorted(self._routes))}",
            )
        if route.fault:
            what, remedy = route.fault
            raise ConfigurationError(what, remedy=remedy)
        client_name = _client_name(route)
        if client_name not in self._clients:
            if route.provider == GATEWAY:
                connection = self._adapted(
                    Connection(GATEWAY, route.base_url, route.key, self._endpoint.idle_timeout, environ=self._environ),
                    route.compatibility,
                )
            else:
                connection = self._connection(route.provider, chosen, route.key)
            self._clients[client_name] = ProviderClient(connection)
        return HostedModel(self._clients[client_name], route.upstream)

    def _connection(self, provider: str, chosen: str, key: str = "") -> Connection:
        if provider == GATEWAY:
            return self._endpoint_connection(chosen)
        package, variable = NATIVE[provider]
        if package and not installed(package):
            raise ConfigurationError(
                f"The model {chosen!r} needs the package {package!r}, which is not installed",
                remedy=f"Run `pip install 'kubiya-worker[{provider}]'` in the worker's environment",
            )
        key = key or (self._key(variable) if variable else "")
        if provider == "google" and not key:
            key = self._key("GEMINI_API_KEY")
        if provider == "openai" and not key and self._endpoint.base_url:
            return self._endpoint_connection(chosen)  # the endpoint may be OpenAI with a key from the settings
        if variable and not key:
            raise ConfigurationError(f"The model {chosen!r} needs a key", remedy=f"Set {variable}")
        connection = Connection(
            provider=provider,
            base_url=self._environ.get("OPENAI_BASE_URL", "").rstrip("/") or OPENAI_URL if provider == "openai" else "",
            api_key=key,
            idle_timeout=self._endpoint.idle_timeout,
            region=self._environ.get("AWS_REGION") or self._environ.get("AWS_DEFAULT_REGION") or "",
            environ=self._environ,
        )
        return self._adapted(connection) if connection.chat else connection

    def _adapted(self, connection: Connection, route: Compatibility = NOTHING) -> Connection:
        settings = self._endpoints.of(connection.base_url).with_(route)
        return replace(connection, compatibility=settings, variables=self._variables)

    def _key(self, variable: str) -> str:
        """Return the key from the variable, or from the file that NAME_FILE names.

        Raise ConfigurationError for a bad file.
        """
        path = self._environ.get(f"{variable}_FILE", "").strip()
        if self._environ.get(variable) or not path:
            return self._environ.get(variable, "")
        try:
            return Path(path).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{variable}_FILE: the file {path} cannot be read: {error}", remedy="Check its path and rights"
            ) from error

    def _endpoint_connection(self, chosen: str) -> Connection:
        endpoint = self._endpoint
        if not endpoint.base_url:
            raise ConfigurationError(f"There is no endpoint for the model {chosen!r}", remedy=_NO_ENDPOINT)
        if not endpoint.base_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"The model endpoint's address {endpoint.base_url!r} is no URL",
                remedy="Begin it with https:// or http://",
            )
        connection = Connection(
            provider=GATEWAY,
            base_url=endpoint.base_url.rstrip("/"),
            api_key=endpoint.api_key,
            idle_timeout=endpoint.idle_timeout,
            metadata=endpoint.takes_metadata,
            environ=self._environ,
        )
        return self._adapted(connection)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        for task in self._listing:
            task.cancel()
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()
