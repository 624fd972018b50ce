"""This module has what an entry of a `model_list` can say. Pure.

The worker that reads entries uses it, and so does a control plane that stores them. A control plane that took another
field would store a wish that no worker keeps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

PARAMS: Final = ("model", "api_base", "base_url", "api_key", "extra_body", "extra_headers")
COMPATIBILITY: Final = (
    *("stream", "stream_options", "tool_choice", "max_tokens_field"),
    *("extra_body", "extra_headers"),
)
# The first part of `litellm_params.model`: APIs like OpenAI's at the user's own address, and other providers' APIs.
COMPATIBLE: Final = frozenset({"openai", "custom_openai", "openai_like", "hosted_vllm", "litellm_proxy", "lm_studio"})
NATIVE: Final = {"anthropic": "anthropic", "gemini": "google", "bedrock": "bedrock"}
# The first part of a model id that never goes to a list: `anthropic:NAME` is that provider's API itself.
DIRECT: Final = ("openai", "anthropic", "google", "bedrock")
ENVIRONMENT: Final = "os.environ/"
STORED: Final = "stored"  # `model_info.origin` of an entry that the control plane has put into a queue's list

# Only these variables may fill the headers of an agent or a stored model, and only those be a stored model's key: a
# person who may edit them must not send the worker's other variables anywhere.
HEADER_VARIABLES: Final = "KUBIYA_MODEL_HEADER_"
KEY_VARIABLES: Final = "KUBIYA_MODEL_KEY_"
# Without an address of its own an entry goes to the provider's, which may have that provider's key.
_OWN_KEYS: Final = {
    "anthropic": frozenset({"ANTHROPIC_API_KEY"}),
    "gemini": frozenset({"GOOGLE_API_KEY", "GEMINI_API_KEY"}),
    "": frozenset({"OPENAI_API_KEY"}),
}
_BODY: Final = frozenset({"model", "messages", "tools", "stream", "stream_options", "n"})
_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}|^os\.environ/(.*)$")


def is_stored(row: Any) -> bool:
    """Return whether an entry of a list is one that the control plane stores."""
    info = row.get("model_info") if isinstance(row, Mapping) else None
    return isinstance(info, Mapping) and info.get("origin") == STORED


def own_list(queue: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of a queue's own list, if the queue uses it."""
    settings = queue.get("settings") or {}
    rows = (settings.get("litellm_config") or {}).get("model_list")
    if settings.get("enable_local_litellm_proxy") is not True or not isinstance(rows, list):
        return []
    return [row for row in rows if isinstance(row, Mapping) and isinstance(row.get("model_name"), str)]


def entry_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored model {id, name, model, …} as an entry of a list."""
    entry: dict[str, Any] = {
        "model_name": model["name"],
        "litellm_params": {name: model[name] for name in PARAMS if model.get(name)},
    }
    if model.get("compatibility"):
        entry["compatibility"] = model["compatibility"]
    return {**entry, "model_info": {"id": model["id"], "origin": STORED}}


def provider_of(model: str) -> str:
    """Return the provider that serves an entry without an address of its own."""
    provider, slash, _ = model.partition("/")
    return NATIVE.get(provider, provider) if slash and provider not in COMPATIBLE else "openai"


def own_keys(model: str, api_base: str) -> frozenset[str]:
    """Return the variables of a provider's own key that a stored entry may name."""
    provider, slash, _ = model.partition("/")
    if api_base:
        return frozenset()
    return _OWN_KEYS.get(provider if slash and provider not in COMPATIBLE else "", frozenset())


def may_name(variable: str, model: str, api_base: str) -> bool:
    """Return whether a stored entry may name a variable of the worker as its key.

    A person who may edit models must not be able to send the worker's other variables to an address of their own.
    """
    return bool(variable.removeprefix(KEY_VARIABLES)) and (
        variable.startswith(KEY_VARIABLES) or variable in own_keys(model, api_base)
    )


def fault_of(entry: Mapping[str, Any], holds_credential: Callable[[str, str], bool]) -> tuple[str, str] | None:
    """Return (field, text) of what a worker would refuse of a stored entry {model, api_base, …}; None if nothing.

    `holds_credential` tells it of a header's name and value.
    """
    model, base = str(entry.get("model") or ""), str(entry.get("api_base") or "")
    provider, slash, rest = model.partition("/")
    if base and (urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).hostname):
        return "api_base", "api_base is no URL: begin it with https:// or http://"
    if slash and not rest:
        return "model", f"model names no model: write {provider}/NAME"
    if slash and provider not in COMPATIBLE and (provider not in NATIVE or base):
        about = f"{provider} at an address of its own" if provider in NATIVE else f"the provider {provider}"
        others = ", ".join(f"{name}/" for name in sorted({*COMPATIBLE, *NATIVE}))
        return "model", (
            f"{about} can be reached through LiteLLM only: run it, write openai/NAME, and set api_base to where it "
            f"listens. Workers reach: {others}"
        )
    settings = ("extra_body", "extra_headers", "compatibility")
    if slash and provider in NATIVE and (named := next((each for each in settings if entry.get(each)), None)):
        return named, f"{named} is for OpenAI-compatible endpoints, not for {provider}: leave it out"
    return _fault_of_key(str(entry.get("api_key") or ""), model, base) or _fault_of_extras(entry, holds_credential)


def _fault_of_key(key: str, model: str, base: str) -> tuple[str, str] | None:
    if not key or (key.startswith(ENVIRONMENT) and may_name(key.removeprefix(ENVIRONMENT), model, base)):
        return None
    own = [f"{ENVIRONMENT}{name}" for name in sorted(own_keys(model, base))]
    accepted = " or ".join([*own, f"{ENVIRONMENT}{KEY_VARIABLES}NAME"])
    what = (
        f"the variable {key.removeprefix(ENVIRONMENT)} is not for models"
        if key.startswith(ENVIRONMENT)
        else "a key is not stored with a model"
    )
    return "api_key", f"{what}: export it on the workers, and write {accepted}"


def _fault_of_extras(entry: Mapping[str, Any], holds_credential: Callable[[str, str], bool]) -> tuple[str, str] | None:
    """Return what is wrong with the added fields and headers, which may stand at two places."""
    for place in (entry, entry.get("compatibility") or {}):
        where = "compatibility" if place is not entry else ""
        for key in place.get("extra_body") or {}:
            if key in _BODY:
                return where or "extra_body", f"extra_body.{key} is the worker's own; it cannot be replaced"
        for name, value in (place.get("extra_headers") or {}).items():
            if holds_credential(name, str(value)) and not _REFERENCE.search(str(value)):
                text = f"extra_headers.{name} is a credential: export {HEADER_VARIABLES}NAME on the workers, and write"
                return where or "extra_headers", f"{text} ${{{HEADER_VARIABLES}NAME}}"
            for match in _REFERENCE.finditer(str(value)):
                variable = match[1] or match[2] or ""
                if not variable.startswith(HEADER_VARIABLES):
                    text = f"extra_headers.{name} may name only variables of the workers that begin with"
                    return where or "extra_headers", f"{text} {HEADER_VARIABLES}"
    return None
