"""This module reads the tokens of an answer and its cost, in the fields and places of all servers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.models.wire.numbers import finite
from kubiya_worker.protocol.execution import Usage

_IN: Final = (
    *("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokenCount", "prompt_token_count"),
    *("input_token_count", "promptTokens", "inputTokens"),
)
_OUT: Final = (
    *("completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokenCount", "generated_tokens"),
    *("output_token_count", "generated_token_count", "completionTokens", "outputTokens"),
)
_TOTAL: Final = ("total_tokens", "totalTokenCount", "total_token_count", "totalTokens")
_READ: Final = (
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cache_read_tokens",
    "cacheReadInputTokens",
    "cacheReadInputTokenCount",
    "cachedContentTokenCount",
    "cached_content_token_count",
    "num_cached_tokens",
    "cached_prompt_tokens",
    "prompt_cached_tokens",
    "cached_input_tokens",
    "cache_hit_tokens",
    "cachedTokens",
)
_WRITTEN: Final = (
    "cache_creation_input_tokens",
    "cache_creation_tokens",
    "cache_write_input_tokens",
    "cache_write_tokens",
    "cacheWriteInputTokens",
    "cacheWriteInputTokenCount",
)
_PER_TERM: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")  # fields of Anthropic's `cache_creation`
_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "promptTokensDetails", "inputTokensDetails")
_INNER: Final = ("tokens", "billed_units")  # objects that hold the numbers within a usage object
_PLACES: Final = (
    "usage",
    "usageMetadata",
    "usage_metadata",
    "token_usage",
    "meta_info",
    "amazon-bedrock-invocationMetrics",
)

_COSTS: Final = ("cost", "total_cost", "estimated_cost", "cost_usd", "response_cost")
_COST_PLACES: Final = ("response_cost", "cost", "x-litellm-response-cost")
_EXCLUDED: Final = ("cache_read_input_tokens", "cacheReadInputTokens")  # of APIs whose input leaves out such tokens
_TICKS: Final = "cost_in_usd_ticks"  # 1e-10 USD
_COST_HEADERS: Final = ("x-litellm-response-cost", "x-response-cost", "x-cost-usd")


@dataclass
class TokenCounts:
    """The sums so far; the last number of a stream counts, since it includes the earlier ones."""

    numbers: dict[str, int] = field(default_factory=dict)
    cost: float | None = None  # USD
    _own: dict[str, int] = field(default_factory=dict)  # counts under a local server's own names
    excludes_cached: bool = False  # whether cached tokens are not included in the input's number

    @property
    def known(self) -> bool:
        return bool(self.numbers)

    def add(self, chunk: Mapping[str, Any]) -> bool:
        """Take the counts of a chunk; return whether it had any."""
        had_counts = False
        for raw in _usages(chunk):
            numbers = {name: count for name, count in _numbers(raw).items() if count is not None}
            if any(numbers.values()) or (numbers and not self.numbers):
                # A sum does not fall back to nothing: some servers end with zeros.
                self.numbers.update({name: n for name, n in numbers.items() if n or not self.numbers.get(name)})
                self.excludes_cached = _first(raw, _IN[:1]) is None and bool(set(raw) & set(_EXCLUDED))
                had_counts = True
            self._charge(cost_of(raw))
        self._own.update(_own_counts(chunk))
        self._charge(_dollars(chunk, _COST_PLACES))
        self._charge(_dollars(_mapping(chunk.get("_hidden_params")), _COST_PLACES))
        return had_counts

    def add_headers(self, headers: Mapping[str, str]) -> None:
        self._charge(_dollars(headers, _COST_HEADERS))

    def _charge(self, dollars: float | None) -> None:
        if dollars is not None:
            self.cost = dollars

    @property
    def nanos(self) -> int | None:
        """Return the cost in 1e-9 USD, or None when the gateway has not reported it."""
        return None if self.cost is None else round(self.cost * 1e9)

    def usage(self) -> Usage:
        """Return the counts; `input_tokens` includes cached tokens, as providers bill them."""
        numbers = self.numbers if any(self.numbers.values()) else self._own
        read, written = numbers.get("read", 0), numbers.get("written", 0)
        taken, given = numbers.get("in"), numbers.get("out")
        total = numbers.get("total")
        if taken is None:
            taken = max(0, (total or 0) - (given or 0))
        elif self.excludes_cached or read + written > taken:
            taken += read + written
        if given is None:
            given = max(0, (total or 0) - taken)
        elif total and total > taken + given:
            rest = total - taken - given
            if rest == read + written:
                taken += rest  # this server does not count tokens of its cache in the input's
            else:
                given += rest  # nor this one thoughts in the answer's
        return Usage(taken, given, read, written)


def cost_of(usage: Mapping[str, Any]) -> float | None:
    """Return the cost in USD that a usage object names."""
    ticks = _number(usage.get(_TICKS))
    if ticks is not None:
        return ticks / 1e10
    dollars = _dollars(usage, _COSTS)
    details = _mapping(usage.get("cost_details"))
    upstream = _number(details.get("upstream_inference_cost"))
    if dollars is not None and upstream is not None and usage.get("is_byok") is True:
        return dollars + upstream  # the router's fee, plus the provider's bill on the user's own key
    return dollars


def _usages(chunk: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield all usage objects of a chunk, vendors' own fields first, as the usual field is preferred and comes last."""
    for name, value in chunk.items():
        if isinstance(value, Mapping) and name not in _PLACES:
            yield from (value[place] for place in _PLACES if isinstance(value.get(place), Mapping))
            for inner in value.values():
                if isinstance(inner, Mapping):
                    yield from (inner[place] for place in _PLACES if isinstance(inner.get(place), Mapping))
    choices = chunk.get("choices")
    for choice in choices[:1] if isinstance(choices, list) else ():
        for holder in (choice, _mapping(choice).get("delta"), _mapping(choice).get("message")):
            inner = _mapping(holder).get("usage")
            if isinstance(inner, Mapping):
                yield inner
    if not choices and _first(chunk, _IN) is not None:
        yield chunk  # an event that is a usage object itself
    for held in (chunk[place] for place in _PLACES if place in chunk):
        yield from (usage for usage in (held if isinstance(held, list) else [held]) if isinstance(usage, Mapping))


def _own_counts(chunk: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts of llama.cpp (`timings`) or of Ollama, which stand beside an answer without usage."""
    timings = _mapping(chunk.get("timings"))
    read = _count(timings.get("cache_n")) or 0
    taken = _count(timings.get("prompt_n"))  # without those from the cache
    counts = {
        "in": _count(chunk.get("prompt_eval_count")) if taken is None else taken + read,
        "out": _first(timings, ("predicted_n",)) if timings else _count(chunk.get("eval_count")),
        "read": read or None,
    }
    return {name: count for name, count in counts.items() if count is not None}


def _numbers(raw: Mapping[str, Any]) -> dict[str, int | None]:
    details = [raw, *(_mapping(raw.get(name)) for name in _DETAILS)]
    holders = [raw, *(_mapping(raw.get(name)) for name in _INNER)]
    per_term = [_count(_mapping(raw.get("cache_creation")).get(name)) or 0 for name in _PER_TERM]
    return {
        "in": next((n for held in holders if (n := _first(held, _IN)) is not None), None),
        "out": next((n for held in holders if (n := _first(held, _OUT)) is not None), None),
        "total": _first(raw, _TOTAL),
        "read": _most(details, _READ),
        "written": _most(details, _WRITTEN) or sum(per_term) or None,
    }


def _first(raw: Mapping[str, Any], names: Iterable[str]) -> int | None:
    return next((count for name in names if (count := _count(raw.get(name))) is not None), None)


def _most(places: Iterable[Mapping[str, Any]], names: Iterable[str]) -> int | None:
    """Return the largest of the numbers under several names, since servers leave some of them at zero."""
    counts = [count for place in places for name in names if (count := _count(place.get(name))) is not None]
    return max(counts, default=None)


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _number(value: Any) -> float | None:
    number = finite(value)
    return number if number is not None and number >= 0 else None


def _dollars(raw: Mapping[str, Any], names: Iterable[str]) -> float | None:
    for name in names:
        value = raw.get(name)
        value = value.get("total_cost") if isinstance(value, Mapping) else value
        number = _number(value)
        if number is not None:
            return number
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
