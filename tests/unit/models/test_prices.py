"""These tests compute the costs of calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models.prices import Price, Prices
from kubiya_worker.protocol.execution import Usage


def test_tokens_from_a_cache_have_their_own_price() -> None:
    price = Price(input=3, output=15, cache_read=0.3, cache_creation=3.75)
    usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=600, cache_creation_tokens=200)
    assert price.nanos(usage) == (200 * 3 + 600 * 0.3 + 200 * 3.75 + 100 * 15) * 1000
    assert Price(3, 15).nanos(usage) == (1000 * 3 + 100 * 15) * 1000


def test_the_users_table_comes_before_the_public_one(tmp_path: Path) -> None:
    public = Prices()
    usage = Usage(1_000_000, 0)
    assert public.nanos("openai:gpt-4o", usage) == public.nanos("kubiya/gpt-4o", usage) == 2_500_000_000
    assert public.nanos("nobody-knows-it", usage) is None and public.context("nobody-knows-it") is None
    assert public.context("claude-sonnet-4") == 200_000
    table = tmp_path / "prices.yaml"
    table.write_text("models: {gpt-4o: {input: 1, output: 1, context: 5}, mine: {input: 0, output: 0}}")
    own = Prices.load(table)
    assert own.nanos("openai:gpt-4o", usage) == 1_000_000_000
    assert own.context("openai:gpt-4o") == 5
    assert own.nanos("mine", usage) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no map `models`"),
        ("models: [", "cannot be read"),
        ("models: {m: 3}", "no map"),
        ("models: {m: {input: 1}}", "wrong at output"),
        ("models: {m: {input: 1, output: -1}}", "wrong at output"),
        ("models: {m: {input: 1, output: .nan}}", "wrong at output"),
        ("models: {m: {input: true, output: 1}}", "wrong at input"),
        ("models: {m: {input: 1, output: 1, inptu: 1}}", "wrong at inptu"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        Prices.load(table)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Prices.load(tmp_path / "nothing")


def test_usage_adds_up_exactly_and_survives_the_wire() -> None:
    third = Usage(1, 1, cost_nanos=333_333_333)
    total = third.plus(third).plus(third)
    assert Usage.parse(total.wire()) == total and total.wire()["cost_usd"] == 0.999999999
    assert total.minus(third) == third.plus(third)
    assert "cost_usd" not in Usage(1, 1).wire()
