"""Print the share of lines and branches that the tests ran, for each package, and name the parts below a limit.

`./scripts/test --coverage` runs it on the report that coverage.py has written as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIMIT = 80  # percent


def percent(done: int, of: int) -> float:
    """Return what share of `of` was done, in percent; 100 where there was nothing to do."""
    return 100 * done / of if of else 100.0


def counts(summary: Mapping[str, int]) -> tuple[int, int]:
    """Return how many lines and branches of a file ran, and how many it has."""
    ran = summary["covered_lines"] + summary.get("covered_branches", 0)
    return ran, summary["num_statements"] + summary.get("num_branches", 0)


def report(data: Mapping[str, Any], limit: float = LIMIT) -> str:
    """Return the text to print for coverage.py's JSON report: each package, then what is below the limit in percent."""
    files = {name: counts(file["summary"]) for name, file in data["files"].items()}
    packages: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, count in files.items():
        packages[str(Path(name).parent)].append(count)
    parts = {package: _total(each) for package, each in packages.items()}
    lines = [f"{percent(*count):5.1f} %  {package}" for package, count in sorted(parts.items())]
    lines.append(f"{percent(*_total(files.values())):5.1f} %  all")
    below = {name: percent(*count) for name, count in files.items() if percent(*count) < limit}
    lines += ["", f"Files below {limit} %: {len(below) or 'none'}"]
    lines += [f"{share:5.1f} %  {name}" for name, share in sorted(below.items(), key=lambda item: item[1])]
    return "\n".join(lines)


def _total(each: Any) -> tuple[int, int]:
    pairs = list(each)
    return sum(ran for ran, _ in pairs), sum(all_ for _, all_ in pairs)


if __name__ == "__main__":
    print(report(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
