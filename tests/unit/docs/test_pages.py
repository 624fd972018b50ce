"""Pages that are written from tables are current, and say all that the tables hold."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kubiya_worker import errors
from kubiya_worker.cli import reference
from scripts import docs, error_lines

ROOT = Path(__file__).parents[3]
SOURCES = ("kubiya_worker", "supervisor", "scripts", "tests", "docs")
SUFFIXES = (".py", ".md", ".js", ".json")


@pytest.fixture(scope="module")
def pages() -> dict[Path, str]:
    return docs.pages()


def test_every_page_is_as_scripts_docs_writes_it(pages: dict[Path, str]) -> None:
    """Write them anew with scripts/docs, and read the difference."""
    stale = [str(p.relative_to(ROOT)) for p, text in pages.items() if not p.exists() or p.read_text("utf-8") != text]
    assert not stale, f"run scripts/docs: {stale}"


def test_no_page_of_the_reference_is_written_by_hand(pages: dict[Path, str]) -> None:
    written = {path for path in pages if path.parent.name == "reference"}
    assert set((ROOT / "docs" / "reference").iterdir()) == written


def test_every_command_and_option_says_what_it_is_for() -> None:
    for entry in reference.entries():
        assert entry.help, entry.path
        for names, text in entry.options:
            assert len(text) > 5, f"{entry.path} {names}"
        for name, text in entry.commands:
            assert text and not text.endswith("..."), f"{entry.path} {name}"


def test_every_class_of_error_has_an_exit_code_that_is_told() -> None:
    told = {code.code for code in errors.EXIT_CODES}
    classes = [errors.WorkerError]
    for each in classes:
        classes += each.__subclasses__()
        assert each.exit_code in told, each


def test_the_readme_tells_no_other_exit_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| .+ \|$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert rows and {int(row) for row in rows} <= {code.code for code in errors.EXIT_CODES}


def test_every_event_that_warns_is_explained() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert {name for name in error_lines.log_events() if f"`{name}`" not in page} == set()


def test_lines_that_are_explained_are_lines_that_are_said() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    table = page.split("## By the line")[1] + page.split("## By the line")[2].split("## By what")[0]
    files = [path for folder in ("kubiya_worker", "supervisor") for path in (ROOT / folder).rglob("*.py")]
    said = " ".join(path.read_text() for path in files)
    for row in re.findall(r"^\| `(.+?)`.* \| .+ \| .+ \|$", table, re.MULTILINE):
        for part in filter(None, re.split(r" ?'?…'?,? ?", row)):
            assert part in said, row


def test_error_lines_are_found_with_their_codes() -> None:
    found = {(line.code, line.text) for line in error_lines.lines()}
    assert (78, "The local control plane is not installed") in found
    assert (1, "No worker of LABEL runs here") in found  # a class that has its code from nowhere but itself
    assert len(found) > 120 and not any(text.startswith("The command") for _, text in found)  # which tools say


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_the_man_page_is_read_without_a_warning() -> None:
    run = subprocess.run(
        ["groff", "-man", "-Tutf8", "-K", "utf-8", "-ww", ROOT / "kubiya_worker" / "cli" / "kubiya.1"],
        capture_output=True,
        timeout=60,
    )
    assert run.returncode == 0 and not run.stderr, run.stderr
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", run.stdout.decode())
    for wanted in ("--queue-id", "KUBIYA_API_KEY", "kubiya worker start", "EXIT STATUS"):
        assert wanted in shown


def test_every_reference_to_the_protocol_leads_to_a_section() -> None:
    anchors = set(re.findall(r'<a id="(\w+)"></a>', (ROOT / "docs" / "protocol.md").read_text()))
    for path in (path for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES):
        for name in re.findall(r"protocol\.md#(\w+)", path.read_text()):
            assert name in anchors, f"{path.relative_to(ROOT)} names protocol.md#{name}, which is not there"


def test_a_fact_of_the_protocol_is_a_link() -> None:
    mention = re.compile(r"PROTO" r"COL,? [A-Z]\b")
    for path in (path for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES):
        found = mention.search(path.read_text())
        assert not found, f"{path.relative_to(ROOT)}: write docs/protocol.md#… in place of {found and found[0]!r}"
