"""The secrets of one execution that a worker has in memory."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class KnownSecrets:
    """The secrets of one execution: name -> (the value, monotonic seconds of the answer), and all values ever seen."""

    values: dict[str, tuple[str, float]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set, repr=False)
