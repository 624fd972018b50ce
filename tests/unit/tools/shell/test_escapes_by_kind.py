"""Command lines that lead out of a list of allowed programs, by kind, and as many ordinary ones beside them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from kubiya_worker.tools.shell.allowed_programs import AllowedPrograms
from kubiya_worker.tools.shell.command_line import CommandRefused
from tests.unit.tools.cases import by_kind, cases

ESCAPES = frozenset(cases("escapes_by_kind.txt"))
BENIGN = frozenset(cases("benign_by_kind.txt"))
KINDS_OF_ESCAPES = by_kind("escapes_by_kind.txt")
KINDS_OF_WORK = by_kind("benign_by_kind.txt")
LAUNCHED = {
    "sleep",
    "ls",
    "echo",
    "date",
    "df",
    "ps",
    "xz",
    "env",
    "timeout",
    "nice",
    "sudo",
    "time",
    "tail",
    "stdbuf",
    "nohup",
    "curl",
}
PROGRAMS = sorted({line.split()[0] for line in ESCAPES | BENIGN} | LAUNCHED)
Check = Callable[[str], str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with the worker's folder, a workspace, and a folder of programs that all do nothing."""
    folder = tmp_path_factory.mktemp("home")
    for name in (".kubiya/dev", "bin", "ws/sub/deep", "outside"):
        (folder / name).mkdir(parents=True)
    key = folder / ".kubiya" / "dev" / "env"
    key.write_text("KEY=canary")
    workspace = folder / "ws"
    for name, text in {
        "names.txt": "a.txt\n",
        "list": f"{key}\n",
        "list0": f"{key}\0",
        "rel": ".kubiya/dev/env\n",
        "sums": "0a  a.txt\nSHA256 (a.txt) = 0a\n",
        "badsums": f"0a  {key}\n",
        "badtags": f"SHA256 ({key}) = 0a\n",
    }.items():
        (workspace / name).write_text(text)
    (workspace / "olink").symlink_to("../outside/x")
    # Apart from the others, since programs that follow links are refused beside such a link.
    (folder / "linked" / "linked").mkdir(parents=True)
    (folder / "linked" / "klink").symlink_to(key)
    (folder / "linked" / "linked" / "k").symlink_to(folder / ".kubiya")
    (workspace / "sub" / "up").symlink_to("..")
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
        text = line.replace("{home}", str(home)).replace("\\\\", "\\").replace("{pid}", str(os.getpid()))
        text = text.replace("{outside}", str(home / "outside")).replace("{ws}", str(home / "ws"))
        argv = [word.replace("\\n", "\n") if line in ESCAPES else word for word in shlex.split(text)]
        return allowance.check(argv, home / ("linked" if "klink" in line or "linked" in line else "ws"))

    return checked


def refused(check: Check, line: str) -> bool:
    try:
        check(line)
    except CommandRefused:
        return True
    return False


def test_there_are_enough_of_both() -> None:
    assert len(ESCAPES) >= 1500 and len(BENIGN) >= 1000
    assert not ESCAPES & BENIGN
    assert {line for lines in KINDS_OF_ESCAPES.values() for line in lines} == ESCAPES
    assert {line for lines in KINDS_OF_WORK.values() for line in lines} == BENIGN


@pytest.mark.parametrize("kind", KINDS_OF_ESCAPES)
def test_each_escape_is_refused(kind: str, check: Check) -> None:
    assert [line for line in KINDS_OF_ESCAPES[kind] if not refused(check, line)] == []


@pytest.mark.parametrize("kind", KINDS_OF_WORK)
def test_ordinary_work_passes(kind: str, check: Check) -> None:
    assert [line for line in KINDS_OF_WORK[kind] if refused(check, line)] == []
