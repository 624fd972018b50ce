"""U2: every fenced command of README.md and docs/ is run, or it is said why not; every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.documents.session import QUEUE, TREATMENTS, Shell, treat
from tests.support.dev import Dev
from tests.support.markdown import HEADING, blocks
from tests.support.stack import ROOT

pytestmark = pytest.mark.timeout(400)
GUIDE = ROOT / "docs" / "guide.md"  # tests/e2e/guide runs its commands
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page != GUIDE)]
ALL = [*PAGES, GUIDE, *sorted((ROOT / "docs").glob("*/*.md")), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
SHELL = ("bash", "sh", "shell")


def commands(page: Path) -> list[tuple[int, str]]:
    return [(block.line, c) for block in blocks(page.read_text()) if block.language in SHELL for c in block.commands]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    running = Dev(tmp_path_factory.mktemp("home"))
    try:
        running.ready().call("POST", "/environments/default/worker-queues", {"name": QUEUE})
        yield running
        running.stop()
    finally:
        running.process.kill()


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_the_commands_of_a_page_work(page: Path, dev: Dev, tmp_path: Path) -> None:
    shell = Shell(dev, tmp_path)
    shell.run(f". '{dev.state}/env'; unset QUEUE_ID")
    try:
        for line, command in commands(page):
            try:
                treat(shell, command)
            except Exception as error:
                raise AssertionError(f"{page.name}, block at line {line}: {error}") from error
    finally:
        shell.close()


def test_every_treatment_is_used() -> None:
    typed = [re.sub(r"^(\w+=\S+ )+", "", command) for page in PAGES for _, command in commands(page)]
    used = {next((p for p, _ in TREATMENTS if re.match(p, each)), "") for each in typed}
    assert [p for p, _ in TREATMENTS if p not in used] == []


@pytest.mark.parametrize("page", ALL, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page: those that a forge makes of its headings, and `<a id="…">`."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    headings = (re.sub(r"<[^>]+>", "", heading) for heading in HEADING.findall(text))
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("**/*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"]({name})" in index or name.startswith("decisions/"), name
