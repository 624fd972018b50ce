"""This module reads from the settings where models are asked. Commands and checks import it too, so it loads little."""

from __future__ import annotations

from collections.abc import Mapping

from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.models import compatibility
from kubiya_worker.models import routes as litellm
from kubiya_worker.models.base import Endpoint
from kubiya_worker.models.compatibility import Endpoints
from kubiya_worker.models.routes import Route
from kubiya_worker.settings import Settings


def endpoint_of(settings: Settings, registration: Registration) -> Endpoint:
    """Return the endpoint of the models; the worker's own environment comes before what the control plane sent."""
    if settings.litellm_api_base:
        base, key, gateway = settings.litellm_api_base, settings.litellm_api_key or "", True
    elif settings.openai_api_key or settings.openai_base_url:
        base = settings.openai_base_url or "https://api.openai.com/v1"
        key, gateway = settings.openai_api_key or "", False
    else:
        base, key, gateway = registration.litellm_api_url, registration.litellm_api_key, True
    return Endpoint(
        base_url=base,
        api_key=key,
        default_model=settings.default_model,
        override=settings.model_override,
        idle_timeout=settings.model_idle_timeout,
        gateway=gateway,
    )


def routes_of(settings: Settings, variables: Mapping[str, str]) -> dict[str, Route]:
    """Return the routes that a local LLM proxy would serve, or nothing when it is off.

    Raise ConfigurationError when its configuration is wrong.
    """
    if not settings.enable_local_proxy:
        return {}
    return litellm.read(settings.proxy_config_file, settings.proxy_config_json, variables)


def endpoints_of(settings: Settings, variables: Mapping[str, str]) -> Endpoints:
    """Return the compatibility settings of the worker's endpoints. Raises ConfigurationError."""
    return compatibility.load(settings.model_compatibility, variables)
