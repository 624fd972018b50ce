"""Read a worker's metrics page from outside. The worker's status file has its address (`metrics_url`)."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from typing import Final

SECONDS: Final = 3.0
LARGEST: Final = 8 << 20  # bytes
_SAMPLE: Final = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Samples = dict[str, list[tuple[dict[str, str], float]]]


def page(address: str) -> str:
    """Return the metrics page. Raises OSError. No proxy is used, because the page is on this host."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=SECONDS) as answer:
            body: bytes = answer.read(LARGEST)
    except urllib.error.URLError as error:
        raise OSError(f"{address}: {error.reason}") from error
    except ValueError as error:
        raise OSError(f"{address}: {error}") from error
    return body.decode(errors="replace")


def samples(text: str) -> Samples:
    """Parse the text format into (labels, value) by metric name. Other lines are ignored. Pure."""
    found: Samples = {}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line.strip())
        if match is None:
            continue
        name, labels, value = match.groups()
        try:
            number = float(value)
        except ValueError:
            continue
        found.setdefault(name, []).append((dict(_LABEL.findall(labels or "")), number))
    return found
