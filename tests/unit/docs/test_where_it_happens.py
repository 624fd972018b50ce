"""The tables "Where it happens" of docs/architecture.md name files and names in them that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
SECTION = PAGE.split("\n## Where it happens\n")[1].split("\n## ")[0]
STEPS = re.findall(r"^\| \d+ `(\w+)` \| `(\S+)` \| (.+) \|$", SECTION, re.MULTILINE)
IN_TEXT = re.findall(r"`(\w+)` (?:in |\()`([\w/]+\.py)`", SECTION)


def test_there_are_four_ways_and_each_row_is_read() -> None:
    assert re.findall(r"^\| (an?) (\w+)'s way ", SECTION, re.MULTILINE) == [
        ("an", "event"),
        ("an", "approval"),
        ("a", "secret"),
        ("a", "restart"),
    ]
    assert len(STEPS) == len(re.findall(r"^\| \d+ ", SECTION, re.MULTILINE)) > 30
    assert len(IN_TEXT) >= 5


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, file, _ in STEPS] + IN_TEXT)
def test_a_step_of_a_way_is_defined_in_its_file(name: str, file: str) -> None:
    source = (ROOT / file).read_text("utf-8")
    assert re.search(rf"^\s*((async )?def|class) {name}\b|^{name}\b.* = ", source, re.MULTILINE), f"{file}: {name}"


def test_modules_named_on_the_page_exist() -> None:
    files = {
        str(path.relative_to(ROOT))
        for top in ("kubiya_worker", "supervisor", "tests", "scripts")
        for path in (ROOT / top).rglob("*.py")
    }
    ends = {"/".join(file.split("/")[start:]) for file in files for start in range(file.count("/") + 1)}
    named = set(re.findall(r"`([\w./]+\.py)(?::[^`]*)?`", PAGE))
    assert len(named) > 150
    assert named - ends == set()
