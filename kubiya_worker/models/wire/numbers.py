"""Read numbers as servers and gateways send them: as a number, or as text of one. Pure."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> float | None:
    """Return the number; None for anything else, and for an infinite one or NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):  # an integer may have more digits than a float has room for
        return None
    return number if math.isfinite(number) else None


def position(value: Any) -> int | None:
    """Return an index, which may come as a number or as text of one; None for anything else."""
    number = finite(value)
    return int(number) if number is not None and number == int(number) else None
