"""Checks of a model's answer: it may be cut off, empty, or too large for Temporal."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from kubiya_worker.models import base
from kubiya_worker.models.base import ModelError, ModelReply
from kubiya_worker.models.wire import finish_reasons
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.characters import visible

# Bytes of an assistant message. It is in the history, and beside it the event that shows it where that could not be
# delivered: both together have to stay below the 2 MB that Temporal takes.
LARGEST: Final = 900_000
SIZE: Final = "size"  # why a message or a call was cut
_MORE_TOKENS: Final = "Raise max_tokens in the agent's model_config"


def empty(reply: ModelReply, last: m.Message | None) -> ModelError | None:
    """Return the error for an answer without content, else None. `last` is the message that it answers.

    After the result of a tool a model may end its turn without text. That is reported, and the model not asked again.
    """
    if visible(reply.content) or reply.tool_calls:
        return None
    if reply.finish_reason == base.LENGTH:
        error = ModelError(
            f"The model's answer is empty: it was cut at the token limit before its first word, "
            f"after {reply.usage.output_tokens} tokens of thought",
            kind=base.BAD_ANSWER,
            remedy=_MORE_TOKENS,
        )
    elif last is not None and last.get("role") == "tool":
        return None
    else:
        error = ModelError(
            f"The model's answer is empty (finish reason {reply.finish_reason!r}, {reply.usage.output_tokens} tokens)",
            kind=base.BAD_ANSWER,
            retryable=True,
            remedy="Try again, or give the agent another model",
        )
    error.usage, error.model, error.cost_nanos = reply.usage, reply.model, reply.cost_nanos
    return error


def told(reply: ModelReply) -> str:
    """Return a notice for people about the way the answer ended; empty when it ended normally."""
    if reply.too_large:
        return f"The answer was cut at {base.LARGEST_ANSWER:,} characters: a worker takes no larger one"
    if reply.finish_reason == base.LENGTH:
        return f"The answer was cut at the token limit, what follows is missing. {_MORE_TOKENS}"
    if not visible(reply.content) and not reply.tool_calls:
        return f"The model's answer is empty: it ended its turn without a word (finish reason {reply.finish_reason!r})"
    if finish_reasons.kind_of(reply.finish_reason) == finish_reasons.UNKNOWN:
        return f"The answer ended for a reason of the provider's own, {reply.finish_reason!r}: it may be incomplete"
    return ""


def fitted(message: m.Message) -> m.Message:
    """Return a message that is small enough for Temporal, cut where it was too large.

    Thoughts are cut first, then the longest arguments (their call is then not run), then the end of the text.
    """
    if m.size_of(message) <= LARGEST:
        return message
    message = {name: value for name, value in message.items() if name != "thinking"}
    calls = [dict(call) for call in message.get("tool_calls") or ()]
    for call in sorted(calls, key=lambda call: len(call["arguments"]), reverse=True):
        if m.size_of(message) <= LARGEST:
            return message
        call["arguments"], call["cut"] = "{}", SIZE
        message["tool_calls"] = calls
    if m.size_of(message) > LARGEST:
        text = str(message["content"])
        # Characters take different numbers of bytes, so how many fit is looked for.
        fits = bisect_right(range(len(text)), LARGEST, key=lambda n: m.size_of({**message, "content": text[:n]}) + 20)
        message.update(content=text[: max(0, fits - 1)], cut=SIZE)
    return message
