"""CHANGELOG.md can be read: versions in order, four kinds of change, one line each, none lost or doubled by a merge."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KINDS = ["Added", "Changed", "Fixed", "Security"]
UPGRADE = "Upgrade notes"


def faults(text: str) -> list[str]:
    """Return what is wrong with the text of a changelog, one sentence each."""
    found = []
    title, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    if title.strip() != "# Changelog":
        found.append("It begins with something else than its title.")
    names = [section.partition("\n")[0] for section in sections]
    if not names or names[0] != "Unreleased":
        found.append("Its first section is not Unreleased.")
    numbers = []
    for name in names[1:]:
        match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+) \(\d{4}-\d\d-\d\d\)", name)
        if match:
            numbers.append(tuple(map(int, match.groups())))
        else:
            found.append(f"{name!r} is not a version with its date, such as 1.2.0 (2026-12-01).")
    if any(older >= newer for newer, older in itertools.pairwise(numbers)):
        found.append("The newest version is not the first one, or one stands there twice.")
    for name, section in zip(names, sections, strict=True):
        found += (f"{name}: {fault}" for fault in _section_faults(section.partition("\n")[2]))
    return found


def _section_faults(body: str) -> list[str]:
    found = []
    kinds = re.findall(r"^### (.+)$", body, re.MULTILINE)
    if kinds != [kind for kind in (UPGRADE, *KINDS) if kind in kinds]:
        found.append(f"its parts are {kinds}; use {[UPGRADE, *KINDS]} in this order, each at most once.")
    lines = [line for line in body.splitlines() if line and not line.startswith("### ")]
    changes = [line for line in lines if line.startswith("- ")]
    found += (f"{line!r} stands there twice." for line, times in Counter(changes).items() if times > 1)
    notes = body.partition(f"### {UPGRADE}\n")[2].partition("\n### ")[0]
    found += (
        f"{line!r} is not a change; a change is one line that begins with a hyphen."
        for line in lines
        if not line.startswith("- ") and line not in notes
    )
    found += (f"{line!r} does not end like a sentence." for line in changes if line[-1] not in ".;:)")
    return found


GOOD = """# Changelog

## Unreleased

### Added

- A thing.

### Changed

## 1.1.0 (2026-12-01)

### Upgrade notes

Read this first.

### Fixed

- A fault.

## 1.0.0 (2026-11-28)

### Added

- A thing.
"""


def test_a_good_one_has_no_fault() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("## Unreleased\n", "## Next\n", "first section"),
        ("1.1.0 (2026-12-01)", "1.1.0", "not a version with its date"),
        ("1.1.0 (2026-12-01)", "1.0.0 (2026-12-01)", "twice"),
        ("1.1.0 (2026-12-01)", "0.9.0 (2026-12-01)", "newest version is not the first"),
        ("### Fixed\n", "### Mended\n", "its parts are"),
        ("### Changed\n", "### Added\n\n- Another.\n", "its parts are"),  # what a merge by union can make
        ("- A fault.\n", "- A fault.\n- A fault.\n", "stands there twice"),
        ("- A fault.\n", "- A fault\n  of two lines.\n", "is not a change"),
        ("- A fault.\n", "- A fault\n", "does not end like a sentence"),
    ],
)
def test_a_bad_one_is_told(old: str, new: str, fault: str) -> None:
    assert old in GOOD
    assert any(fault in sentence for sentence in faults(GOOD.replace(old, new, 1)))


def test_ours_has_no_fault() -> None:
    assert faults((ROOT / "CHANGELOG.md").read_text("utf-8")) == []


def test_each_version_that_has_histories_is_described() -> None:
    described = re.findall(r"^## (\d+\.\d+\.\d+) ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    recorded = {folder.name for folder in (ROOT / "tests" / "replay" / "histories").iterdir()}
    assert recorded and recorded <= set(described)
