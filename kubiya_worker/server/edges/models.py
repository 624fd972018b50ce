"""This module models stored models: entries of the `model_list` that the workers of queues get."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from kubiya_worker.protocol import names
from kubiya_worker.protocol.model_entries import DIRECT
from kubiya_worker.server.edges.base import Filled, Json, Name, NotSupported, Strict, one_of

_FIXED: Final = NotSupported("Others refer to it by its name: make another one, and name that")
_OF_AGENTS: Final = NotSupported("Set it in the llm_config of the agents")
_OF_WORKERS: Final = NotSupported("Give the workers a table of prices: KUBIYA_MODEL_PRICES")
_OF_LITELLM: Final = NotSupported("Run LiteLLM itself, and set api_base to where it listens")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _for_lists(name: str) -> str:
    """Return a name that a list can have; refuse one by which no agent could reach it."""
    provider, colon, _ = name.partition(":")
    text = ""
    if name == names.DEMO_MODEL:
        text = "demo is the script that every worker has: take another name"
    elif "*" in name:
        text = "a name stands for one model: leave the * out"
    elif colon and provider in DIRECT:
        text = f"{provider}: at the beginning of a name is that provider's API itself: take another name"
    if text:
        raise PydanticCustomError("value_error", "{text}", {"text": text})
    return name


def _no_headers(headers: dict[str, Any]) -> dict[str, Any]:
    for name in headers:
        if not _HEADER.fullmatch(name):
            raise PydanticCustomError("value_error", "{name} is no header that can be set", {"name": repr(name)})
    return headers


ModelName = Annotated[Name, AfterValidator(_for_lists)]
Headers = Annotated[dict[str, str | int | float], AfterValidator(_no_headers)]


class ModelCompatibility(Strict):
    """Settings for an endpoint that differs from OpenAI's server: docs/models.md."""

    stream: bool | None = None
    stream_options: bool | None = None
    tool_choice: Annotated[str, one_of("auto", "omit")] | None = None
    max_tokens_field: Annotated[str, one_of("max_tokens", "max_completion_tokens")] | None = None
    extra_body: Json | None = None
    extra_headers: Headers | None = None


class ModelPatch(Strict):
    """A model that agents name in `model_id`: an entry of the `model_list` of queues; docs/models.md.

    `queues` are names or ids; without them, and with null, all queues have it. `api_key` names a variable of the
    workers: `os.environ/KUBIYA_MODEL_KEY_NAME`.
    """

    nullable: ClassVar[frozenset[str]] = frozenset({"queues"})

    name: Annotated[Any, _FIXED] = None
    description: str | None = None
    queues: Annotated[list[Filled], Field(min_length=1)] | None = None
    model: Filled | None = None
    api_base: Filled | None = None
    api_key: Filled | None = None
    extra_body: Json | None = None
    extra_headers: Headers | None = None
    compatibility: ModelCompatibility | None = None
    base_url: Annotated[Any, NotSupported("Set api_base")] = None
    litellm_params: Annotated[Any, NotSupported("Set its fields beside name: model, api_base, api_key")] = None
    model_name: Annotated[Any, NotSupported("Set name")] = None
    model_info: Annotated[Any, NotSupported("Set description")] = None
    max_tokens: Annotated[Any, _OF_AGENTS] = None
    temperature: Annotated[Any, _OF_AGENTS] = None
    timeout: Annotated[Any, _OF_AGENTS] = None
    fallbacks: Annotated[Any, NotSupported("Set fallback_models in the llm_config of the agents")] = None
    input_cost_per_token: Annotated[Any, _OF_WORKERS] = None
    output_cost_per_token: Annotated[Any, _OF_WORKERS] = None
    rpm: Annotated[Any, _OF_LITELLM] = None
    tpm: Annotated[Any, _OF_LITELLM] = None
    max_parallel_requests: Annotated[Any, _OF_LITELLM] = None
    max_budget: Annotated[Any, _OF_LITELLM] = None
    num_retries: Annotated[Any, _OF_LITELLM] = None
    max_retries: Annotated[Any, _OF_LITELLM] = None
    api_version: Annotated[Any, _OF_LITELLM] = None


class NewModel(ModelPatch):
    name: ModelName
    model: Filled
