"""This module maps all servers' finish reasons to ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.models import base

GIVEN_UP: Final = "given_up"  # the server could not finish; the same call may work later
ERROR: Final = "error"  # the answer cannot be used
UNKNOWN: Final = ""

_WORDS: Final = {
    base.STOP: "stop end_turn eos eos_token stop_sequence stop_token end end_of_text complete completed finish "
    "finished done normal natural success null none finish_reason_unspecified",
    base.TOOL_CALLS: "tool_calls tool_call tool_use function_call function_calls tool",
    base.LENGTH: "length max_tokens max_token max_output_tokens max_completion_tokens max_new_tokens model_length "
    "max_length token_limit token_limit_reached length_limit length_capped incomplete truncated max_tokens_reached "
    "limit",
    base.CONTENT_FILTER: "content_filter content_filtered contentfilter filtered sensitive safety refusal recitation "
    "prohibited_content blocklist spii guardrail_intervened moderation blocked image_safety",
    GIVEN_UP: "insufficient_system_resource network_error abort aborted cancel cancelled canceled timeout timed_out "
    "overloaded server_error internal_error internal_server_error engine_error unavailable preempted interrupted "
    "stream_error connection_error",
    ERROR: "error failed failure malformed_function_call unexpected_tool_call too_many_tool_calls malformed_response "
    "missing_thought_signature invalid language no_image image_other image_recitation",
}
# Parts of longer words, such as `engine_overloaded` or `finish_reason_max_tokens`; the first one decides.
_PARTS: Final = {
    **dict.fromkeys(("content_filter", "safety", "moderation", "sensitive"), base.CONTENT_FILTER),
    **dict.fromkeys(
        ("max_tokens", "max_output", "max_completion", "token_limit", "token_budget", "out_of_tokens", "output_limit"),
        base.LENGTH,
    ),
    **dict.fromkeys(
        ("overload", "unavailable", "system_resource", "timeout", "timed_out", "cancel", "abort", "server_error"),
        GIVEN_UP,
    ),
    **dict.fromkeys(("interrupt", "disconnect", "preempt", "kv_cache", "rate_limit", "died", "crash"), GIVEN_UP),
    **dict.fromkeys(("malformed", "error", "failed"), ERROR),
    "length": base.LENGTH,
}
_HOLDERS: Final = ("type", "reason", "finish_reason", "name")  # of a reason that is an object
_KINDS: Final = {word: kind for kind, words in _WORDS.items() for word in words.split()}


def word_of(value: Any) -> str:
    """Return a reason's word; some servers send it in an object, beside a token or a length, or in a list."""
    if isinstance(value, list):
        return word_of(value[0]) if value else ""
    if isinstance(value, Mapping):
        return word_of(next((value[name] for name in _HOLDERS if value.get(name)), ""))
    return value.strip() if isinstance(value, str) else ""


def kind_of(word: str) -> str:
    """Return STOP, TOOL_CALLS, LENGTH or CONTENT_FILTER of base.py, GIVEN_UP, ERROR, or UNKNOWN for any other word."""
    word = word.strip().lower().replace("-", "_").replace(" ", "_")
    if word in _KINDS:
        return _KINDS[word]
    return next((kind for part, kind in _PARTS.items() if part in word), UNKNOWN)
