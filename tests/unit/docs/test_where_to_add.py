"""The table "Where to add" of docs/architecture.md names files and names in them that exist, three files at most."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("\n## Where to add\n")[1].split("\n## ")[0]


def rows() -> list[tuple[str, str, str]]:
    """Return (what to add, file, text) for each row; a row without the first one goes on with the row above."""
    found: list[tuple[str, str, str]] = []
    for what, file, text in re.findall(r"^\| (.*?) ?\| `(\S+)` \| (.+) \|$", SECTION, re.MULTILINE):
        found.append((what or found[-1][0], file, text))
    return found


def test_it_tells_of_five_things_with_three_files_at_most() -> None:
    things = [what for what, _, _ in rows()]
    assert list(dict.fromkeys(things)) == ["a skill", "an event", "a setting", "a budget kind", "an API field"]
    assert max(things.count(what) for what in things) <= 3


@pytest.mark.parametrize(("what", "file", "text"), rows(), ids=lambda value: value if len(value) < 60 else "")
def test_a_file_and_what_is_named_in_it_exist(what: str, file: str, text: str) -> None:
    assert (ROOT / file).is_file()
    source = (ROOT / file).read_text("utf-8")
    for name in re.findall(r"`([A-Za-z_]+)`", text):
        assert re.search(rf"\b{name}\b", source), f"{file} has no {name}"


def test_paths_in_the_text_exist() -> None:
    named = re.findall(r"`((?:cli|server|workflows|docs|tests|scripts)/[\w/.]+)`", SECTION)
    assert named
    for path in named:
        assert (ROOT / path).exists() or (ROOT / "kubiya_worker" / path).exists(), path
