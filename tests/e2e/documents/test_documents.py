"""U2: every fenced command of README.md and docs/ is run, or it is said why not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.documents.session import QUEUE, TREATMENTS, Shell, treat
from tests.support.dev import Dev
from tests.support.markdown import blocks
from tests.support.receiver import Receiver
from tests.support.stack import ROOT

pytestmark = pytest.mark.timeout(400)
GUIDE = ROOT / "docs" / "guide.md"  # tests/e2e/guide runs its commands
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page != GUIDE)]
SHELL = ("bash", "sh", "shell")


def commands(page: Path) -> list[str]:
    return [c for block in blocks(page.read_text()) if block.language in SHELL for c in block.commands]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    running = Dev(tmp_path_factory.mktemp("home"), KUBIYA_NOTIFY_NETWORKS="127.0.0.0/8")
    try:
        running.ready().call("POST", "/environments/default/worker-queues", {"name": QUEUE})
        yield running
        running.stop()
    finally:
        running.process.kill()


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_the_commands_of_a_page_work(page: Path, dev: Dev, receiver: Receiver, tmp_path: Path) -> None:
    shell = Shell(dev, tmp_path, receiver)
    shell.run(f". '{dev.state}/env'; unset QUEUE_ID")
    try:
        for block in blocks(page.read_text()):
            if block.language == "yaml":
                shell.document = block.text
            for command in block.commands if block.language in SHELL else ():
                try:
                    treat(shell, command)
                except Exception as error:
                    raise AssertionError(f"{page.name}, block at line {block.line}: {error}") from error
    finally:
        shell.close()


def test_every_treatment_is_used() -> None:
    typed = [re.sub(r"^(\w+=\S+ )+", "", command) for page in PAGES for command in commands(page)]
    used = {next((p for p, _ in TREATMENTS if re.match(p, each)), "") for each in typed}
    assert [p for p, _ in TREATMENTS if p not in used] == []
