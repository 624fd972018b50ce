"""The glossary has one line for each word, and each line is a sentence."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "glossary.md"
ROW = re.compile(r"^\| (\*\*.+?\*\*) \| (.+) \|$", re.MULTILINE)


def rows() -> list[tuple[list[str], str]]:
    """Return the words of each line, and what they mean."""
    return [(re.findall(r"\*\*(.+?)\*\*", words), meaning) for words, meaning in ROW.findall(PAGE.read_text("utf-8"))]


def test_each_word_has_one_meaning() -> None:
    words = [word for names, _ in rows() for word in names]
    assert len(words) > 50
    assert sorted(words) == sorted(set(words)), "a word stands twice"


def test_each_meaning_is_one_sentence() -> None:
    for names, meaning in rows():
        assert meaning[0].isupper() and meaning.endswith("."), names
        assert ". " not in meaning, f"{names}: one sentence, please"


def test_every_line_of_the_tables_is_read() -> None:
    lines = [
        line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ") and line != "| word | meaning |"
    ]
    assert len(lines) == len(rows())


def test_the_index_links_to_it() -> None:
    assert "(glossary.md)" in (ROOT / "docs" / "README.md").read_text("utf-8")
