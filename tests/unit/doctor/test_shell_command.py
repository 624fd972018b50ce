"""The shell's `kubiya` may be another program, or a second installation of this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kubiya_worker.doctor import shell_command
from kubiya_worker.doctor.check import PASS, WARN
from tests.support.rights import as_nobody, reachable

OTHER = "#!/bin/sh\n"
OURS = "#!/usr/bin/python3\nfrom kubiya_worker.cli.main import main\n"


def made(folder: Path, text: str = OTHER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "kubiya"
    program.write_text(text)
    program.chmod(0o755)
    return program


def test_another_program_of_the_same_name_is_told_with_both_paths(tmp_path: Path) -> None:
    ours, other = made(tmp_path / "ours"), made(tmp_path / "other")
    found = shell_command.finding({"PATH": f"{other.parent}:{ours.parent}"}, ours.parent)
    assert found.status == WARN
    assert found.message == f"`kubiya` in this shell is {other}, another program of that name; this one is {ours}"
    assert found.remedy == f'Call {ours}, or put it first: export PATH="{ours.parent}:$PATH"'
    found = shell_command.finding({"PATH": f"{ours.parent}:{other.parent}"}, ours.parent)
    assert (found.status, found.message) == (PASS, f"{ours}, before {other}, another program of that name")
    link = tmp_path / "bin" / "kubiya"  # as pipx and uv make one
    link.parent.mkdir()
    link.symlink_to(ours)
    assert shell_command.finding({"PATH": f"{link.parent}"}, ours.parent).message == str(ours)
    assert shell_command.finding({"PATH": ""}, tmp_path / "no").status == PASS


@pytest.mark.parametrize("version", ["0.9.1", ""])
def test_a_second_installation_is_told_apart_from_another_program(tmp_path: Path, version: str) -> None:
    ours, other = made(tmp_path / "ours" / "bin", OURS), made(tmp_path / "other" / "bin", OURS)
    if version:
        (other.parents[1] / f"lib/python3.12/site-packages/kubiya_worker-{version}.dist-info").mkdir(parents=True)
    found = shell_command.finding({"PATH": f"{other.parent}:{ours.parent}"}, ours.parent)
    known = f" ({version})" if version else ""
    assert found.message == (
        f"`kubiya` in this shell is {other}, another installation of kubiya-worker{known}; this one is {ours}"
    )
    assert found.remedy and found.remedy.endswith("remove one of the two, in the way in which it was installed")


def test_a_binary_an_unreadable_place_and_no_program_are_no_installation_of_ours(tmp_path: Path) -> None:
    binary = made(tmp_path / "go")
    binary.write_bytes(b"\x7fELF\x02" + bytes(5000) + b"kubiya_worker")
    assert not shell_command.examine(binary).ours
    assert not shell_command.examine(tmp_path / "gone").ours
    (tmp_path / "folder" / "kubiya").mkdir(parents=True)
    plain = made(tmp_path / "plain")
    plain.chmod(0o644)
    path = ":".join(str(each) for each in ("", tmp_path / "folder", plain.parent, binary.parent, binary.parent))
    assert list(shell_command.on_path({"PATH": path})) == [binary]


def test_the_first_start_of_a_worker_tells_it_and_later_ones_do_not(tmp_path: Path) -> None:
    other, home = made(tmp_path / "other"), tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home), "PATH": f"{other.parent}:/usr/bin:/bin", "KUBIYA_API_KEY": "k"}
    argv = [sys.executable, "-P", "-m", "kubiya_worker", "worker", "start", "--queue-id", "q", "-d"]
    argv += ["--control-plane-url", "http://127.0.0.1:9"]
    line = f"kubiya worker: command: `kubiya` in this shell is {other}, another program of that name; this one is "
    first = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60)
    assert first.returncode and line in first.stderr, first.stderr
    (home / ".kubiya" / "workers" / "q").mkdir(parents=True)
    assert line not in subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60).stderr


def test_a_folder_of_another_user_on_path_is_passed_over(tmp_path: Path) -> None:
    hidden = made(tmp_path / "hidden").parent
    hidden.chmod(0)
    tmp_path.chmod(0o755)
    with reachable(tmp_path), as_nobody():
        found = shell_command.finding({"PATH": str(hidden)}, tmp_path / "no")
    hidden.chmod(0o700)
    assert found.status == PASS
