"""This module makes pydantic-ai's settings of one request: the agent's, and those of the prompt cache. Pure."""

from __future__ import annotations

from typing import Any, cast

from pydantic_ai.settings import ModelSettings

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import caching, compatibility, conversion
from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.compatibility import NOTHING
from kubiya_worker.models.connection import Connection
from kubiya_worker.tracing import current


def settings_of(name: str, request: ModelRequest, connection: Connection) -> ModelSettings:
    """Return the settings of a request to the model `name`.

    Raise ConfigurationError when the provider cannot take one.
    """
    if connection.compatibility.with_(compatibility.of_agent(request.settings, connection.variables)) != NOTHING:
        raise ConfigurationError(
            f"`compatibility` is for OpenAI-compatible endpoints, not for {connection.provider}",
            remedy="Leave it out of the agent's llm_config",
        )
    chosen = {**conversion.to_settings(request.settings), **cache_settings(name, request, connection)}
    headers = current.model_headers()
    if headers:
        chosen["extra_headers"] = headers
    return cast(ModelSettings, chosen)


def cache_settings(name: str, request: ModelRequest, connection: Connection) -> dict[str, Any]:
    """Return the settings by which the provider's client marks a request for the prompt cache."""
    time = caching.retention(request.settings, connection.provider, name)
    if not time or not caching.pays(request.messages, request.tools):
        return {}
    if connection.provider == "anthropic":
        # Mark each part: a proxy before Anthropic (ANTHROPIC_BASE_URL) may not know the mark of a whole request.
        return {f"anthropic_cache_{part}": time for part in ("instructions", "tool_definitions", "messages")}
    return {"cache": time}  # Bedrock's; no marks when the model has no cache
