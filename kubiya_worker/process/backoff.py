"""This module gives delays between tries: exponential and with jitter, so that many workers do not return at once."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Compute delays in seconds.

    The n-th one lies between half of `first * 2**n` and the whole of it, and is at most `longest`.
    """

    first: float
    longest: float
    random: random.Random = field(default_factory=random.Random)
    tries: int = 0

    def next(self, at_least: float = 0.0) -> float:
        ceiling = min(self.longest, self.first * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return max(at_least, ceiling * self.random.uniform(0.5, 1.0))
