"""Pages that are written from tables are current, and say all that the tables hold."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from kubiya_worker import errors
from kubiya_worker.cli import reference

ROOT = Path(__file__).parents[3]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generator", ROOT / "scripts" / "docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_as_scripts_docs_writes_it() -> None:
    """Write them anew with scripts/docs, and read the difference."""
    pages = generator().pages()
    stale = [str(p.relative_to(ROOT)) for p, text in pages.items() if not p.exists() or p.read_text("utf-8") != text]
    assert not stale, f"run scripts/docs: {stale}"


def test_no_page_of_the_reference_is_written_by_hand() -> None:
    written = {path for path in generator().pages() if path.parent.name == "reference"}
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
