"""This module reads a LiteLLM proxy's configuration without a proxy: each model's endpoint and key.

The Kubiya CLI starts a LiteLLM proxy beside its worker for `--enable-local-proxy` (protocol.md#f8). This worker calls
the endpoints of the file's `model_list` itself: no second process, no port, nothing to install. Features that only
LiteLLM has (other providers' APIs, fallbacks, limits, callbacks) are refused by name, not ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models.compatibility import NOTHING, Compatibility
from kubiya_worker.models.compatibility import parse as parse_compatibility
from kubiya_worker.models.configuration_file import text_of
from kubiya_worker.models.connection import GATEWAY
from kubiya_worker.protocol.model_entries import COMPATIBLE, ENVIRONMENT, KEY_VARIABLES, NATIVE, PARAMS, may_name

AS_LITELLM: Final = "Correct it; docs/deploy.md has an example of a model_list"
USE_LITELLM: Final = "Leave it out; or run LiteLLM itself, and set LITELLM_API_BASE to where it listens"
OPENAI: Final = "https://api.openai.com/v1"
# LiteLLM settings that always hold here, so they may be given.
ALWAYS_TRUE: Final = frozenset({"drop_params", "set_verbose"})


@dataclass(frozen=True)
class Route:
    """The endpoint of a model.

    `upstream` is the provider's name of it, `key` is empty if the provider's variable has it. `fault` says what is
    wrong with a stored model that this host cannot reach, and what to do.
    """

    provider: str
    upstream: str
    base_url: str = ""
    key: str = field(default="", repr=False)
    compatibility: Compatibility = NOTHING
    fault: tuple[str, str] | None = None


@dataclass(frozen=True)
class Routing:
    """The models that have endpoints of their own. `only`: no other model is served, except by its provider's API."""

    routes: Mapping[str, Route] = field(default_factory=dict)
    only: bool = True

    def covers(self, model_id: str) -> bool:
        """Return whether a model's endpoint is to be found here, or nowhere."""
        return model_id in self.routes or (self.only and bool(self.routes))


def read(path: str | None, text: str | None, environ: Mapping[str, str]) -> dict[str, Route]:
    """Return the routes of a file, or of a flag's or variable's text; raise ConfigurationError."""
    if path and text:
        raise ConfigurationError(
            "--proxy-config-file and --proxy-config-json contradict each other", remedy="Give one of them"
        )
    if not path and not text:
        raise ConfigurationError(
            "--enable-local-proxy needs a list of models",
            remedy="Give --proxy-config-file FILE, with a model_list as LiteLLM has it",
        )
    where = "--proxy-config-json"
    if path:
        where = str(Path(path).expanduser())
        text = text_of(where)
    return parse(_document(text or "", where), where, environ)


def literal_keys(text: str) -> bool:
    """Return whether the text holds keys themselves; on a command line every user of the host would see them."""
    rows = _document(text, "--proxy-config-json").get("model_list")
    for row in rows if isinstance(rows, list) else ():
        params = row.get("litellm_params") if isinstance(row, dict) else None
        key = str(params.get("api_key") or "") if isinstance(params, dict) else ""
        if key and not key.startswith(ENVIRONMENT):
            return True
    return bool(_document(text, "--proxy-config-json").get("environment_variables"))


def _document(text: str, where: str) -> dict[str, Any]:
    import yaml  # JSON is YAML

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:  # do not show the YAML error: it quotes the line, which may hold a key
        raise ConfigurationError(f"{where} is not valid YAML or JSON", remedy=AS_LITELLM) from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{where} has to be a mapping with a model_list", remedy=AS_LITELLM)
    return content


def parse(document: Mapping[str, Any], where: str, environ: Mapping[str, str]) -> dict[str, Route]:
    """Return the routes by model name.

    Raise ConfigurationError for a wrong entry or a feature that only LiteLLM has. Pure.
    """
    document_variables = document.get("environment_variables") or {}
    settings = document.get("litellm_settings") or {}
    if not isinstance(document_variables, dict) or not isinstance(settings, dict):
        raise ConfigurationError(
            f"{where}: environment_variables and litellm_settings must be mappings", remedy=AS_LITELLM
        )
    for section in document.keys() - {"model_list", "environment_variables", "litellm_settings"}:
        raise ConfigurationError(f"{where}: {section} is for LiteLLM's own proxy", remedy=USE_LITELLM)
    for name in settings.keys() - ALWAYS_TRUE:
        raise ConfigurationError(f"{where}: litellm_settings.{name} is for LiteLLM's own proxy", remedy=USE_LITELLM)
    rows = document.get("model_list")
    if not isinstance(rows, list) or not rows:
        raise ConfigurationError(f"{where} has no model_list", remedy="List each model_name with its litellm_params")
    variables = {**environ, **{str(name): str(value) for name, value in document_variables.items()}}
    routes: dict[str, Route] = {}
    for number, row in enumerate(rows):
        name, route = _route(row, f"{where}: model_list[{number}]", variables)
        if name in routes:
            raise ConfigurationError(
                f"{where}: model_list[{number}]: there are two of {name}, between which LiteLLM's proxy would choose",
                remedy=USE_LITELLM,
            )
        routes[name] = route
    return routes


def stored(rows: Sequence[Any], where: str, environ: Mapping[str, str]) -> dict[str, Route]:
    """Return the routes of models that the control plane stores. Pure.

    A route that this host cannot use has a fault, which is told to the runs of that model only: a key that one model
    lacks must not stop the others.
    """
    routes: dict[str, Route] = {}
    for row in rows:
        try:
            name, route = _route(row, where, environ, stored=True)
        except ConfigurationError as error:
            name = str(row.get("model_name") or "") if isinstance(row, dict) else ""
            route = Route(GATEWAY, "", fault=(error.message, error.remedy))
        if name:
            routes.setdefault(name, route)
    return routes


def _checked_key(params: Mapping[str, Any], where: str) -> None:
    """Raise ConfigurationError for the key of a stored model that is none of the variables for that."""
    key = str(params.get("api_key") or "").strip()
    base = str(params.get("api_base") or params.get("base_url") or "").strip()
    if key and not (
        key.startswith(ENVIRONMENT) and may_name(key.removeprefix(ENVIRONMENT), str(params["model"]), base)
    ):
        raise ConfigurationError(
            f"{where} is no variable for models", remedy=f"Write {ENVIRONMENT}{KEY_VARIABLES}NAME at the model"
        )


def _route(row: Any, where: str, environ: Mapping[str, str], *, stored: bool = False) -> tuple[str, Route]:
    row = row if isinstance(row, dict) else {}
    name, params = row.get("model_name"), row.get("litellm_params")
    if not isinstance(name, str) or not name or not isinstance(params, dict) or not params.get("model"):
        raise ConfigurationError(f"{where} needs a model_name and litellm_params with a model", remedy=AS_LITELLM)
    if "*" in name:
        raise ConfigurationError(f"{where}: {name} stands for any number of models", remedy=USE_LITELLM)
    for param in params.keys() - set(PARAMS):
        raise ConfigurationError(
            f"{where}: litellm_params.{param} of {name} is for LiteLLM's own proxy", remedy=USE_LITELLM
        )

    if stored:
        _checked_key(params, f"{where}: api_key of {name}")

    def value(key: str) -> str:
        filling = environ if key == "api_key" or not stored else {}
        return _expanded(params.get(key), f"{where}: {key} of {name}", filling)

    base = value("api_base") or value("base_url")
    reached = _reached(value("model"), base.rstrip("/"), value("api_key"), f"{where}: {name}")
    # LiteLLM has two of these settings itself; the others are beside them.
    extra = {key: params[key] for key in ("extra_body", "extra_headers") if params.get(key) is not None}
    beside = parse_compatibility(row.get("compatibility"), f"{where}: compatibility of {name}", environ, agent=stored)
    settings = parse_compatibility(extra, f"{where}: litellm_params of {name}", environ, agent=stored).with_(beside)
    if settings != NOTHING and reached.provider != GATEWAY:
        raise ConfigurationError(
            f"{where}: {name}: compatibility settings are for OpenAI-compatible endpoints, not {reached.provider}",
            remedy="Leave them out",
        )
    return name, replace(reached, compatibility=settings)


def _reached(model: str, base: str, key: str, where: str) -> Route:
    if base and (urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).hostname):
        raise ConfigurationError(f"{where}: api_base is no URL", remedy="Begin it with https:// or http://")
    provider, slash, rest = model.partition("/")
    if slash and provider in COMPATIBLE:
        return Route(GATEWAY, rest, base or OPENAI, key)
    if slash and provider in NATIVE and not base:
        return Route(NATIVE[provider], rest, "", key)
    if not slash:
        return Route(GATEWAY, model, base or OPENAI, key)
    about = f"{provider} at an address of its own" if provider in NATIVE else f"the provider {provider}"
    raise ConfigurationError(f"{where}: {about} can only be reached through LiteLLM itself", remedy=USE_LITELLM)


def _expanded(raw: Any, where: str, environ: Mapping[str, str]) -> str:
    """Return a value, where `os.environ/NAME` means the variable; raise ConfigurationError when it is not set."""
    text = "" if raw is None else str(raw).strip()
    if not text.startswith(ENVIRONMENT):
        return text
    name = text.removeprefix(ENVIRONMENT)
    if not environ.get(name):
        raise ConfigurationError(f"{where}: the variable {name} is not set", remedy=f"export {name}=…")
    return environ[name]
