"""Every relative link of every page leads to a file, and its anchor to a heading there, as the forge names it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLACES = ("*.md", "docs/**/*.md", "deploy/**/*.md", "tests/*/README.md", ".github/**/*.md")
PAGES = sorted({path for place in PLACES for path in ROOT.glob(place)})
CODE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[`~]*$|(?<!`)(`+)(?!`).+?(?<!`)\3(?!`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^()\s<>]*)>?(?: \"[^\"]*\")?\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
TARGET = re.compile(r'<a (?:id|name)="([^"]+)">')


def links(text: str) -> list[str]:
    """Return the targets of the links in a page; what stands in code is no link."""
    return [inline or reference for inline, reference in LINK.findall(CODE.sub("``", text))]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page: its headings in the forge's form, and what it names itself."""
    found: set[str] = set()
    fences = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[`~]*$", re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", fences.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"<[^>]+>", "", heading)).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        name, number = slug, 0
        while name in found:
            number += 1
            name = f"{slug}-{number}"
        found.add(name)
    return found | set(TARGET.findall(text))


def faults(page: Path, text: str) -> list[str]:
    """Return the links of a page that lead nowhere."""
    wrong = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = Path(os.path.normpath(page.parent / path)) if path else page
        if not target.is_relative_to(ROOT) or not target.exists():
            wrong.append(f"{link}: there is no such file")
        elif anchor and target.suffix == ".md":
            there = text if target == page else target.read_text("utf-8")
            if anchor not in anchors(there):
                wrong.append(f"{link}: there is no such heading")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    assert faults(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[a](README.md)", 0),
        ("[a](no-such-page.md)", 1),
        ("[a](docs/daemon.md#no-such-heading)", 1),
        ("# A `b` c, d\n[a](#a-b-c-d)", 0),
        ("# A\n## A\n[a](#a-1) [b](#a-2)", 1),
        ("[a](../outside.md)", 1),
        ("`[a](in-code.md)` and\n```\n[a](in-code.md)\n```\n", 0),
        ("[a][b]\n\n[b]: no-such-page.md", 1),
        ("[a](https://example.com/nothing)", 0),
    ],
)
def test_a_link_that_leads_nowhere_is_found(text: str, count: int) -> None:
    assert len(faults(ROOT / "README.md", text)) == count
