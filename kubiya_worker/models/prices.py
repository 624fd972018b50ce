"""This module computes a model call's cost: from the user's own table first, then from the package `genai-prices`.

The table is a YAML file, USD per million tokens:

    models:
      claude-sonnet-4: {input: 3, output: 15, cache_read: 0.3, cache_creation: 3.75, cache_creation_1h: 6}
      our-own-model: {input: 0, output: 0, context: 128000}

A model is looked up by its whole id, then by what comes after the last `/` or `:`. `context` is its window in tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.execution import Usage

HOUR: Final = "1h"
# Anthropic's prices of a cache write: 2 times the input's for an hour, 1.25 times for 5 minutes.
HOUR_TO_MINUTES: Final = 1.6


@dataclass(frozen=True)
class Price:
    """Prices in USD per million tokens; a missing cache price is the input's, and `context` is in tokens."""

    input: float
    output: float
    cache_read: float | None = None
    cache_creation: float | None = None
    cache_creation_1h: float | None = None
    context: int | None = None

    def nanos(self, usage: Usage, retention: str = "") -> int:
        """Return the cost in 1e-9 USD.

        `usage.input_tokens` includes cached tokens, and `retention` is how long a write stays.
        """
        read, created = usage.cache_read_tokens, usage.cache_creation_tokens
        plain = max(0, usage.input_tokens - read - created)
        of_read = self.input if self.cache_read is None else self.cache_read
        of_created = self.input if self.cache_creation is None else self.cache_creation
        if retention == HOUR and self.cache_creation_1h is not None:
            of_created = self.cache_creation_1h
        elif retention == HOUR and self.cache_creation is not None:
            of_created = self.cache_creation * HOUR_TO_MINUTES
        dollars = plain * self.input + read * of_read + created * of_created + usage.output_tokens * self.output
        return round(dollars * 1000)


class Prices:
    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self._own_prices = dict(own or {})

    @classmethod
    def load(cls, path: Path | None) -> Prices:
        """Load the table; raise ConfigurationError when the file is missing or has another form."""
        if path is None:
            return cls()
        try:
            raw = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
            raise ConfigurationError(
                f"The price table {path} cannot be read: {reason}", remedy="Check KUBIYA_MODEL_PRICES"
            ) from error
        models = raw.get("models") if isinstance(raw, dict) else None
        if not isinstance(models, dict):
            raise ConfigurationError(
                f"The price table {path} has no map `models`", remedy="See docs/budgets.md for one"
            )
        return cls({str(name): _price(path, str(name), entry) for name, entry in models.items()})

    def nanos(self, model: str, usage: Usage, retention: str = "") -> int | None:
        """Return the price of a call in 1e-9 USD, or None when the model's is unknown; the first call may take a while.

        `retention` is how long tokens written to the prompt cache stay there: an hour costs more than five minutes.
        """
        own_price = self._price_of(model)
        if own_price is not None:
            return own_price.nanos(usage, retention)
        public = _public(model)
        return None if public is None else _public_nanos(public, usage, retention)

    def context(self, model: str) -> int | None:
        """Return the model's window in tokens, or None when it is unknown."""
        own_price = self._price_of(model)
        if own_price is not None:
            return own_price.context
        price = _public(model)
        return None if price is None else price.window

    def own_context(self, model: str) -> int | None:
        """Return the window that the worker's own table gives the model."""
        own = self._price_of(model)
        return own.context if own is not None else None

    def _price_of(self, model: str) -> Price | None:
        return next((self._own_prices[name] for name in _names(model) if name in self._own_prices), None)


def _names(model: str) -> list[str]:
    return [model, model.replace(":", "/").rpartition("/")[2]]


def _price(path: Path, name: str, entry: Any) -> Price:
    known = {field.name for field in fields(Price)}
    if not isinstance(entry, dict):
        wrong = ["that it is no map"]
    else:
        wrong = [str(key) for key in entry if key not in known]
        numbers = {key: value for key, value in entry.items() if key in known}
        wrong += [k for k, v in numbers.items() if isinstance(v, bool) or not isinstance(v, int | float) or not v >= 0]
        wrong += [key for key in ("input", "output") if key not in entry]
    if wrong:
        raise ConfigurationError(
            f"{path}: the price of {name} is wrong at {wrong[0]}",
            remedy="Write `input` and `output`, and if need be the others of docs/budgets.md, as numbers",
        )
    return Price(**entry)


@dataclass(frozen=True)
class _Public:
    reference: str
    provider: str
    window: int | None


@cache
def _public(model: str) -> _Public | None:
    """Return the model's entry in the public table; the package loads at the first use."""
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    for name in _names(model):
        try:
            price = calc_price(Tokens(input_tokens=0, output_tokens=0), model_ref=name)
        except LookupError:
            continue
        return _Public(name, price.provider.id, price.model.context_window)
    return None


def _public_nanos(model: _Public, usage: Usage, retention: str) -> int:
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    tokens = Tokens(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_creation_tokens,
        **({"cache_write_1h_tokens": usage.cache_creation_tokens} if retention == HOUR else {}),
    )
    price = calc_price(tokens, model_ref=model.reference, provider_id=model.provider)
    return round(price.total_price * 1_000_000_000)
