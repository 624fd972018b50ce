"""Numbers of servers are read as they come: as numbers, as text, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.models.wire.numbers import finite


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), ("2.5", 2.5), (True, None), ("x", None), (None, None), ("inf", None), ("nan", None), (10**400, None)],
)
def test_only_a_finite_number_is_one(value: Any, number: float | None) -> None:
    assert finite(value) == number
