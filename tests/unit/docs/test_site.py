"""The documentation site: each page has its place, and the strict build finds nothing to complain of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts import site

GENERATOR = Path(sys.executable).with_name("zensical")
needs_generator = pytest.mark.skipif(not GENERATOR.exists(), reason="needs zensical, of the extra `dev`")


def test_each_page_is_in_the_navigation_once() -> None:
    """A new page gets a row in a table of docs/README.md."""
    shown = Counter(path for _, entries in site.navigation() for _, path in entries)
    assert set(shown) == set(site.pages()) - {"README.md", "docs/README.md"}
    assert set(shown.values()) == {1}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("[a](daemon.md#logs)", "[a](daemon.md#logs)"),
        ("[a](../SECURITY.md)", "[a](../SECURITY.md)"),
        ("[`a`](../scripts/bench/bare.py)", "`a`"),
        ("[decisions](decisions)", "decisions"),
        ("[a](https://example.com) [b](#c)", "[a](https://example.com) [b](#c)"),
        ("![a](benchmarks/long-run.svg)", "![a](benchmarks/long-run.svg)"),
    ],
)
def test_a_link_to_what_is_no_page_becomes_text(text: str, result: str) -> None:
    assert site.staged(text, "docs/benchmarks.md") == result


@needs_generator
def test_it_is_built_strictly_and_can_be_searched(tmp_path: Path) -> None:
    assert site.build(tmp_path / "site") == 0
    built = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.html")}
    for page in site.pages():
        name = page.removesuffix(".md") + ".html"
        assert name.replace("README.html", "index.html") in built, page
    found = json.loads((tmp_path / "site" / "search.json").read_text("utf-8"))
    assert "KUBIYA_MCP_MAX_SESSIONS" in json.dumps(found)


@needs_generator
@pytest.mark.parametrize(("target", "code"), [("index.md", 0), ("no-such-page.md", 1)])
def test_a_link_that_leads_nowhere_ends_the_build(target: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.md").write_text(f"# A page\n\n[a]({target})\n")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "a"\ndocs_dir = "pages"\n')
    run = subprocess.run([GENERATOR, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == code, run.stdout + run.stderr
