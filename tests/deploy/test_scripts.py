"""The linters of shell scripts and Dockerfiles find nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from kubiya_worker.server.api.install import SCRIPTS
from tests.support.stack import BIN, ROOT

FOLDERS = (".ci", "scripts", "deploy")
SHELL = re.compile(rb"#!\S*(/env )?\S*\b(ba|da)?sh\b")


def _shell_scripts() -> list[Path]:
    found = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file())
    return [path for path in found if path.suffix == ".sh" or SHELL.match(path.read_bytes())]


def _run(program: str, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / program, *arguments], input=input, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT
    )


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    scripts = _shell_scripts()
    assert {"test", "demo", "lib.sh", "run"} <= {path.name for path in scripts}
    run = _run("shellcheck", "--external-sources", "--enable=quote-safe-variables", *map(str, scripts))
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("kind", ["local", "docker"])
def test_shellcheck_finds_nothing_in_what_the_control_plane_hands_out(kind: str) -> None:
    text = SCRIPTS[kind].format(name="a queue", url="'http://127.0.0.1:7777'", queue="q1")
    run = _run("shellcheck", "-", input=text)
    assert run.returncode == 0, run.stdout


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    run = _run("hadolint", "--failure-threshold", "style", "deploy/Dockerfile")
    assert run.returncode == 0, run.stdout
    broken = _run("hadolint", "-", input="FROM debian\nRUN cd /tmp && apt-get install -y x\n")
    assert broken.returncode == 1 and "DL3008" in broken.stdout, "it looks at all"
