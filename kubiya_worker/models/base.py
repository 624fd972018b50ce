"""The port to language models: what is asked, what comes back, how it fails. Nothing here knows a provider.

    Models(endpoint).select(model_id).stream(ModelRequest)  ->  Delta, Delta, ..., ModelReply

A stream ends with exactly one ModelReply, or raises ModelError. Whoever calls decides about retries: the providers
behind the port never try twice by themselves.
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
RESET: Final = "reset"  # the text so far was a thought: it is taken back, and comes again as one

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

# Characters of one answer. Temporal takes 2 MB for a message with all that belongs to it, and a model that repeats
# itself without end would be paid for until its own limit.
LARGEST_ANSWER: Final = 1_000_000

# How often a call is made, at most, before its fault is final.
ONCE: Final = 1  # it would fail again
FEW: Final = 3  # what came is no answer: asking again helps sometimes, and each time is paid for
MANY: Final = 12  # the provider is away or busy: with back-off, about four minutes

IDLE_TIMEOUT: Final = 120.0  # seconds without a chunk; reasoning models can think for a minute before the first one


@dataclass(frozen=True)
class ModelRequest:
    """One model call: the whole conversation so far and the tools that the model may ask for.

    `settings` is the agent's model_config: temperature, max_tokens, top_p, top_k, stop, frequency_penalty,
    presence_penalty, seed, parallel_tool_calls, thinking (true, false or a level), timeout (seconds for the whole
    call), caching (models/caching.py) and compatibility (models/compatibility.py); others are ignored.
    `metadata` are trace keys for a gateway (PROTOCOL D.1); they are not shown to the model. `cache_key` is the same for
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
    """A piece of the answer as it comes; `kind` is TEXT, THINKING, THOUGHT or RESET. `index` counts the thoughts."""

    kind: str
    content: str
    index: int = 0


@dataclass(frozen=True)
class ModelReply:
    """The whole answer. `content` is the sum of the text deltas since the last RESET.

    `tool_calls` are {id, name, arguments: raw JSON text, cut?}; one that was cut, by whatever limit, is not to be run.

    `thinking` holds opaque entries which belong into the assistant message, so that a provider that signs its thoughts
    sees them again. `finish_reason` is STOP, TOOL_CALLS, LENGTH, or a word of the provider's own; an answer that a
    content filter stopped, or that the model refused, is no reply but a ModelError (REFUSED). `cost_nanos` is what a
    gateway says that the call cost, in 1e-9 USD; `too_large` says that it was stopped at LARGEST_ANSWER.
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
    """A model call failed. `retryable` tells whether the same call may succeed later, `retry_after` (seconds) when.

    `tries` bounds how often such a fault is met before it is final: ONCE, FEW or MANY. `window` is the model's context
    in tokens where the provider named it. `unclear`: nothing says why the request was refused; where the conversation
    is long, that may be the reason. `usage` is what it has cost all the same, by `model`: an answer that is none was
    paid for.
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
    """A provider's model. `label` is what a person reads, e.g. "demo model, not an LLM"."""

    @property
    def label(self) -> str: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | ModelReply, None]:
        """Deltas, then one ModelReply. Raises ModelError. To stop early, close the iterator (`contextlib.aclosing`)."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """Where models are: an OpenAI-compatible base URL with its bearer key, and the worker's choice of model.

    `override` (KUBIYA_MODEL_OVERRIDE) beats an agent's model, `default_model` (LITELLM_DEFAULT_MODEL) serves agents
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
        """Whether trace metadata may go into the request's body."""
        return self.gateway and urlsplit(self.base_url).hostname != "api.openai.com"
