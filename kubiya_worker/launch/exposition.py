"""Read a worker's metrics page from outside. The worker's status file has its address (`metrics_url`)."""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker import loopback

SECONDS: Final = 3.0
_SAMPLE: Final = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = dict[str, list[tuple[dict[str, str], float]]]


def page(address: str) -> str:
    """Return the metrics page. Raises OSError."""
    return loopback.page(address, timeout=SECONDS)


def samples(text: str) -> Samples:
    """Parse the text format into (labels, value) by metric name. Other lines are ignored. Pure."""
    by_metric: Samples = {}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line.strip())
        if match is None:
            continue
        name, labels, value = match.groups()
        try:
            number = float(value)
        except ValueError:
            continue
        by_metric.setdefault(name, []).append((dict(_LABEL.findall(labels or "")), number))
    return by_metric
