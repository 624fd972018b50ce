"""Shell completion: what a Tab brings, asked for as the shells ask."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.stack import BIN


def bash(script: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        env={"PATH": f"{BIN}:{os.defpath}", "HOME": str(home), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def completed(line: str, home: Path) -> list[str]:
    """Return the completions that bash offers for the last word of `line`."""
    words = line.split(" ")
    script = (
        'eval "$(kubiya completion bash)" && '
        f"COMP_WORDS=({' '.join(repr(w) for w in words)}) COMP_CWORD={len(words) - 1} && "
        '_kubiya_completion kubiya && printf "%s\\n" "${COMPREPLY[@]}"'
    )
    run = bash(script, home)
    assert run.returncode == 0 and not run.stderr, run
    return run.stdout.split()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("kubiya wo", ["worker", "workers"]),
        ("kubiya worker st", ["start", "stop", "status"]),
        ("kubiya worker start --no-w", ["--no-wait"]),
        ("kubiya worker start --log-level d", ["DEBUG"]),
        ("kubiya config explain max_log_b", ["max_log_backups"]),
        ("kubiya worker logs --queue-id p", ["prod-queue"]),
        ("kubiya worker status --queue-id nothing", []),
    ],
)
def test_bash_offers_commands_flags_and_values(line: str, wanted: list[str], tmp_path: Path) -> None:
    for queue in ("prod-queue", "dev-queue"):
        (tmp_path / ".kubiya" / "workers" / queue).mkdir(parents=True)
    assert completed(line, tmp_path) == wanted


def test_bash_completes_files_itself(tmp_path: Path) -> None:
    """`compopt` is refused outside of a real completion, which is how the test sees that files were asked for."""
    script = (
        'eval "$(kubiya completion bash)"; compopt() { echo "$@"; }; '
        "COMP_WORDS=(kubiya worker start --config wor) COMP_CWORD=4; _kubiya_completion kubiya"
    )
    assert bash(script, tmp_path).stdout == "-o default\n"


@pytest.mark.parametrize(("shell", "first"), [("zsh", "#compdef kubiya"), ("fish", "function _kubiya_completion")])
def test_other_shells_get_their_own_script(shell: str, first: str, tmp_path: Path) -> None:
    run = bash(f"kubiya completion {shell}", tmp_path)
    assert run.returncode == 0 and run.stdout.lstrip().startswith(first), run
    assert "_KUBIYA_COMPLETE" in run.stdout
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=run.stdout, capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stderr


def test_without_a_home_there_are_no_queues_and_no_traceback(tmp_path: Path) -> None:
    script = (
        "unset HOME; COMP_WORDS='kubiya worker stop --queue-id ' COMP_CWORD=4 _KUBIYA_COMPLETE=bash_complete kubiya"
    )
    run = bash(script, tmp_path)
    assert (run.returncode, run.stderr) == (0, ""), run
