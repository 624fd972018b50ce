"""Command lines that lead out of a list of allowed programs, by kind, and as many ordinary ones beside them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from kubiya_worker.tools.shell.allowed_programs import AllowedPrograms
from kubiya_worker.tools.shell.command_line import CommandRefused
from tests.unit.tools.cases import cases

ESCAPES = cases("escapes_by_kind.txt")
BENIGN = cases("benign_by_kind.txt")
LAUNCHED = {"ls", "date", "df", "ps", "xz", "env", "timeout", "nice", "sudo", "time", "tail", "stdbuf", "nohup", "curl"}
PROGRAMS = sorted({line.split()[0] for line in ESCAPES + BENIGN} | LAUNCHED)
Check = Callable[[str], str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with the worker's folder, a workspace, and a folder of programs that all do nothing."""
    folder = tmp_path_factory.mktemp("home")
    for name in (".kubiya/dev", "bin", "ws"):
        (folder / name).mkdir(parents=True)
    (folder / ".kubiya" / "dev" / "env").write_text("KEY=canary")
    (folder / "ws" / "names.txt").write_text("a.txt\n")
    for name in PROGRAMS:
        (folder / "bin" / name).write_text("#!/bin/true\n")
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.fixture
def check(home: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    monkeypatch.setenv("HOME", str(home))
    allowance = AllowedPrograms(
        frozenset(PROGRAMS), search_path=(str(home / "bin"),), private=(home / ".kubiya",), roots=(home / "ws",)
    )

    def checked(line: str) -> str:
        text = line.replace("{home}", str(home)).replace("\\\\", "\\")
        argv = [word.replace("\\n", "\n") if line in ESCAPES else word for word in shlex.split(text)]
        return allowance.check(argv, home / "ws")

    return checked


def test_there_are_enough_of_both() -> None:
    assert len(ESCAPES) >= 500 and len(BENIGN) >= 300
    assert not set(ESCAPES) & set(BENIGN)


@pytest.mark.parametrize("line", ESCAPES)
def test_an_escape_is_refused(line: str, check: Check) -> None:
    with pytest.raises(CommandRefused):
        check(line)


@pytest.mark.parametrize("line", BENIGN)
def test_ordinary_work_passes(line: str, check: Check) -> None:
    assert check(line)
