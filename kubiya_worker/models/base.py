"""This module is the port to language models: requests, answers and errors, without any provider's details.

    Models(endpoint).select(model_id).stream(ModelRequest)  ->  Delta, Delta, ..., ModelReply

A stream ends with exactly one ModelReply, or raises ModelError. The caller decides about retries: the providers behind
the port never try twice by themselves.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from kubiya_worker.errors import Unavailable
from kubiya_worker.protocol import names
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.protocol.messages import Message, ToolCall
from kubiya_worker.protocol.tools import ToolSpec

TEXT: Final = "text"
THINKING: Final = "thinking"
THOUGHT: Final = "thought"  # the end of a thought; its content is the provider's signature, or ""
RESET: Final = "reset"  # the text so far was a thought: a reader removes it, and it is sent again as a thought

# Why a model call failed.
RATE_LIMITED: Final = "rate_limited"  # 429: the provider wants fewer calls
UNAVAILABLE: Final = "unavailable"  # connection refused or lost, 408, 409, 5xx
QUOTA: Final = "quota"  # the account, or the budget of its key, is used up: waiting does not help
AUTH: Final = "auth"  # 401, 403
UNKNOWN_MODEL: Final = "unknown_model"  # the endpoint does not have the model, or not for this key
MOVED: Final = "moved"  # the endpoint's address has changed
BAD_REQUEST: Final = "bad_request"  # any other 4xx: the same request fails again
CONTEXT_OVERFLOW: Final = names.CONTEXT_OVERFLOW  # the conversation is longer than the model's window
REFUSED: Final = names.REFUSED  # the model declines, or a content filter stopped the request or the answer
BAD_ANSWER: Final = "bad_answer"  # the provider says that what the model wrote cannot be used (a malformed call)
CUT_STREAM: Final = "cut_stream"  # the stream ended before the model said why it stopped
SILENT: Final = "silent"  # no byte within the idle timeout

STOP: Final = "stop"
TOOL_CALLS: Final = "tool_calls"
LENGTH: Final = "length"
CONTENT_FILTER: Final = "content_filter"

# Characters of one answer. Temporal takes 2 MB for a message with its attachments, and without this limit a model that
# repeats itself would be paid for until its own limit.
LARGEST_ANSWER: Final = 1_000_000

# The most tries of a call before its error is final.
ONCE: Final = 1  # the same error would come again
FEW: Final = 3  # the answer is unusable: asking again helps sometimes, but each try is paid for
MANY: Final = 12  # the provider is away or busy: with back-off, about four minutes

IDLE_TIMEOUT: Final = 120.0  # seconds without a chunk; reasoning models can think for a minute before the first one


@dataclass(frozen=True)
class ModelRequest:
    """One model call: the whole conversation so far, and the tools that the model may call.

    `settings` is the agent's model_config: temperature, max_tokens, top_p, top_k, stop, frequency_penalty,
    presence_penalty, seed, parallel_tool_calls, thinking (true, false or a level), timeout (seconds for the whole
    call), caching (models/caching.py) and compatibility (models/compatibility.py); others are ignored.
    `metadata` are trace keys for a gateway (protocol.md#d1), not shown to the model. `cache_key` is the same for
    all requests that begin alike.
    """

    model_id: str
    system_prompt: str
    messages: list[Message]
    tools: list[ToolSpec] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    cache_key: str = ""


@dataclass(frozen=True)
class Delta:
    """A piece of the answer as it arrives.

    `kind` is TEXT, THINKING, THOUGHT or RESET, and `index` counts the thoughts.
    """

    kind: str
    content: str
    index: int = 0


@dataclass(frozen=True)
class ModelReply:
    """The whole answer; `content` is all text deltas since the last RESET.

    `tool_calls` are {id, name, arguments: raw JSON text, cut?}; a call that is marked cut is incomplete and must not
    run.

    `thinking` holds opaque entries for the assistant message, so that a provider that signs its thoughts gets them
    back. `finish_reason` is STOP, TOOL_CALLS, LENGTH, or the provider's own word; an answer that a content filter
    stopped, or that the model refused, is a ModelError (REFUSED) and no reply. `cost_nanos` is the call's cost in 1e-9
    USD as the gateway reports it; `too_large` says that the answer was stopped at LARGEST_ANSWER.
    """

    content: str
    tool_calls: list[ToolCall]
    thinking: list[dict[str, Any]]
    usage: Usage
    finish_reason: str
    model: str
    provider: str
    cost_nanos: int | None = None
    too_large: bool = False


class ModelError(Unavailable):
    """A model call failed; `retryable` says whether the same call may succeed later, `retry_after` in how many seconds.

    `tries` is the most tries before such an error is final: ONCE, FEW or MANY. `window` is the model's context in
    tokens if the provider named it. `unclear` means that the provider gave no reason for refusing the request; a long
    conversation may be the reason. `usage` is what the failed call cost, by `model`, since an unusable answer is paid
    for too.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        remedy: str = "",
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        tries: int | None = None,
        window: int | None = None,
        unclear: bool = False,
    ) -> None:
        super().__init__(message, remedy=remedy)
        if tries is None:
            tries = ONCE if not retryable else FEW if kind == BAD_ANSWER else MANY
        self.kind = kind
        self.status = status
        self.tries = tries
        self.retry_after = retry_after
        self.window = window
        self.unclear = unclear
        self.usage = Usage()
        self.cost_nanos: int | None = None
        self.model = ""

    @property
    def retryable(self) -> bool:
        return self.tries > ONCE


class Model(Protocol):
    """A provider's model; `label` is its name for people, e.g. "demo model, not an LLM"."""

    @property
    def label(self) -> str: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | ModelReply, None]:
        """Yield Deltas, then one ModelReply.

        Raises ModelError. To stop early, close the iterator (`contextlib.aclosing`).
        """
        ...


@dataclass(frozen=True)
class Endpoint:
    """The address of models: an OpenAI-compatible base URL with its bearer key, and the worker's choice of model.

    `override` (KUBIYA_MODEL_OVERRIDE) replaces an agent's model, `default_model` (LITELLM_DEFAULT_MODEL) serves agents
    without one. `idle_timeout` is in seconds. `gateway` says that a LiteLLM gateway listens there, which takes trace
    metadata; other servers may refuse a field that they do not know.
    """

    base_url: str = ""
    api_key: str = field(default="", repr=False)
    default_model: str | None = None
    override: str | None = None
    idle_timeout: float = IDLE_TIMEOUT
    gateway: bool = True

    @property
    def takes_metadata(self) -> bool:
        """Return whether trace metadata may go into the request's body."""
        return self.gateway and urlsplit(self.base_url).hostname != "api.openai.com"
