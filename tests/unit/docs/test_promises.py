"""docs/security.md names for each promise a test that exists, and no page names one that does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

ROW = re.compile(r"^\| .+ \| `(tests/[^`]+)` \|$", re.M)
SECTION = (ROOT / "docs/security.md").read_text().split("## The test of each promise")[1].split("\n## ")[0]
NAMED = re.compile(r"`(tests/[\w./-]+?(?:\.py|/)?(?:::\w+)?)[`\s]")
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
# What issue 12 asks to be shown; each has at least one row, which begins with or contains these words.
ASKED = (
    *("every accepted field", "deny rule, a skill that is taken away and a stop of all", "A stop of all".lower()),
    *("whom the rule does not name", "outage", "escape of the shell's allow-list", "environment and memory of another"),
    *("in no command line, environment, log", "support bundle", "1,000 audit records", "random faults"),
    *("killed at any step", "packages that are replaced", "500 half requests", "200 tool results"),
)


def problem(named: str) -> str:
    """Return what is wrong with the name of a test; "" when it exists."""
    path, _, function = named.partition("::")
    if not (ROOT / path).exists():
        return f"{path} does not exist"
    if function and not re.search(rf"^ *(?:async )?def {function}\(", (ROOT / path).read_text(), re.M):
        return f"{path} has no {function}"
    return ""


def test_each_row_names_one_test() -> None:
    rows = [line for line in SECTION.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) == len(ROW.findall(SECTION)) >= 10


@pytest.mark.parametrize("named", ROW.findall(SECTION))
def test_the_test_of_a_promise_exists(named: str) -> None:
    assert (ROOT / named.partition("::")[0]).is_file() and problem(named) == "", problem(named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_test_that_a_page_names_exists(page: Path) -> None:
    if page.name != "CHANGELOG.md":  # which tells of what was, too
        assert [told for named in NAMED.findall(page.read_text()) if (told := problem(named))] == []


@pytest.mark.parametrize("words", ASKED)
def test_what_has_to_be_shown_is_a_promise(words: str) -> None:
    assert words in SECTION


def test_the_check_sees_what_is_not_there() -> None:
    assert problem("tests/unit/docs/test_promises.py::test_each_row_names_one_test") == ""
    assert "no test_gone" in problem("tests/unit/docs/test_promises.py::test_gone")
    assert "does not exist" in problem("tests/unit/docs/test_gone.py")
    assert NAMED.findall("`tests/a/b.py -k x`, `tests/c/`, `tests/d.py::test_e`") == [
        "tests/a/b.py",
        "tests/c/",
        "tests/d.py::test_e",
    ]
