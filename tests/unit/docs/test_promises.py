"""docs/security.md names for each promise a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

ROW = re.compile(r"^\| .+ \| `(tests/[^`]+)` \|$", re.M)
SECTION = (ROOT / "docs/security.md").read_text().split("## The test of each promise")[1].split("\n## ")[0]


def test_each_row_names_one_test() -> None:
    rows = [line for line in SECTION.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) == len(ROW.findall(SECTION)) >= 10


@pytest.mark.parametrize("named", ROW.findall(SECTION))
def test_the_test_of_a_promise_exists(named: str) -> None:
    path, _, function = named.partition("::")
    assert (ROOT / path).is_file(), f"docs/security.md names {path}, which does not exist"
    assert not function or f"def {function}(" in Path(ROOT / path).read_text(), f"{path} has no {function}"
