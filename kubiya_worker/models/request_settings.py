"""This module makes the settings of one request: the agent's, the prompt cache's, and the endpoint's. Pure."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from pydantic_ai.settings import ModelSettings

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import caching, compatibility, conversion
from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.compatibility import NOTHING, Compatibility
from kubiya_worker.models.compatible_model import COMPATIBILITY
from kubiya_worker.models.connection import Connection
from kubiya_worker.tracing import current


def settings_of(name: str, request: ModelRequest, connection: Connection) -> ModelSettings:
    """Return the settings of a request to the model `name`.

    Raise ConfigurationError when the endpoint cannot take one.
    """
    chosen = cast(dict[str, Any], conversion.to_settings(request.settings, request.metadata, connection))
    chosen |= cache_settings(name, request, connection)
    of_agent = compatibility.of_agent(request.settings, connection.variables)
    compatibility_settings = connection.compatibility.with_(of_agent)
    if compatibility_settings != NOTHING:
        _adapt(chosen, compatibility_settings, connection)
    headers = current.model_headers()
    if headers:
        chosen["extra_headers"] = {**chosen.get("extra_headers", {}), **headers}
    return cast(ModelSettings, chosen)


def cache_settings(name: str, request: ModelRequest, connection: Connection) -> dict[str, Any]:
    """Return the settings by which the provider's client, or ours, marks a request for the prompt cache."""
    time = caching.retention(request.settings, connection.provider, name)
    if connection.chat and connection.official:
        off = caching.setting(request.settings) == caching.OFF
        return {"openai_prompt_cache_key": request.cache_key} if request.cache_key and not off else {}
    if not time or not caching.pays(request.messages, request.tools):
        return {}
    if connection.provider == "anthropic":
        # Mark each part: a proxy before Anthropic (ANTHROPIC_BASE_URL) may not know the mark of a whole request.
        return {f"anthropic_cache_{part}": time for part in ("instructions", "tool_definitions", "messages")}
    if connection.provider == "bedrock":
        return {"cache": time}  # no marks when the model has no cache
    host = urlsplit(connection.base_url).hostname or ""
    return {caching.SETTING: time, caching.PARTS_ONLY: caching.parts_only(host)}


def _adapt(chosen: dict[str, Any], compatibility_settings: Compatibility, connection: Connection) -> None:
    if not connection.chat:
        raise ConfigurationError(
            f"`compatibility` is for OpenAI-compatible endpoints, not for {connection.provider}",
            remedy="Leave it out of the agent's llm_config",
        )
    chosen[COMPATIBILITY] = compatibility_settings
    body = {**chosen.get("extra_body", {}), **compatibility_settings.extra_body}
    limit = chosen.get("max_tokens")
    if compatibility_settings.max_tokens_field and limit is not None:
        del chosen["max_tokens"]
        body[compatibility_settings.max_tokens_field] = limit
    if body:
        chosen["extra_body"] = body
    if compatibility_settings.extra_headers:
        chosen["extra_headers"] = dict(compatibility_settings.extra_headers)
