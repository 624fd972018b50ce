"""./scripts/demo as a person starts it, with the .venv that is there: its line, and that nothing is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scripts.demo import said
from tests.support.dev import all_gone
from tests.support.stack import ROOT, Process
from tests.support.terminal import CONTROL_C, Terminal

DEMO = str(ROOT / "scripts" / "demo")
GONE_WITHIN = 45.0  # seconds: the guards' graces, one inside the other, on a busy machine; `exec` alone waits 60

pytestmark = pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "python").exists(), reason="there is no .venv to use")


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A temporary folder of its own, by which all that belongs to this run is found; nothing is left in it."""
    yield {**os.environ, "TMPDIR": str(tmp_path)}
    for process in of(tmp_path):
        process.kill()


def of(folder: Path) -> list[psutil.Process]:
    """Processes that were started with this temporary folder, but not this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("TMPDIR") == str(folder):
                found.append(process)
        except psutil.Error:
            pass  # gone, or not ours to see
    return found


def test_it_prints_one_line_and_leaves_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    """The home cannot be written here, and the demo needs none."""
    run = subprocess.run(
        [DEMO, "--json"], env={**environment, "HOME": "/proc/1"}, capture_output=True, text=True, timeout=110
    )
    assert run.returncode == 0, run.stderr
    (line,) = run.stdout.splitlines()
    result = json.loads(line)
    assert set(result) == {"execution_id", "status", "answer", "seconds"}
    assert result["status"] == "completed" and "var/log/app/debug.log" in result["answer"]
    assert 0 < result["seconds"] < 100
    assert of(tmp_path) == [] and list(tmp_path.iterdir()) == []


def test_it_streams_the_run_and_shows_the_approval(environment: dict[str, str], tmp_path: Path) -> None:
    run = subprocess.run([DEMO], env=environment, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    for text in (
        "demo model, not an LLM",
        "approval needed: save_file",
        "granted",
        "approved by",
        "The answer is right",
    ):
        assert text in said, said
    assert of(tmp_path) == [] and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_keep_leaves_the_stack_and_says_how_to_stop_it(environment: dict[str, str], tmp_path: Path) -> None:
    run = subprocess.run([DEMO, "--keep", "--json"], env=environment, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["status"] == "completed"
    kept = of(tmp_path)
    assert kept
    found = re.search(r"stop it: +(kill \d+ && rm -r (\S+))", run.stderr)
    assert found and re.search(r"prepare a shell: +\. \S+/state/env", run.stderr), run.stderr
    subprocess.run(["/bin/sh", "-c", found[1].replace("&& rm", "; sleep 0; true || rm")], check=True)
    all_gone(kept, GONE_WITHIN)
    subprocess.run(["rm", "-r", found[2]], check=True)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_mid_run_stops_all(environment: dict[str, str], tmp_path: Path) -> None:
    with Terminal([DEMO], environment, ROOT) as terminal:
        terminal.expect("kubiya exec agent ops", 90)
        running = of(tmp_path)
        assert len(running) > 5
        terminal.send(CONTROL_C)
        code = terminal.wait(60)
        assert code in (0, 130), terminal.text  # 0: it had its answer before the key was felt
        if code:
            assert "scripts/demo: stopped" in terminal.text
        all_gone(running, GONE_WITHIN)
    assert list(tmp_path.iterdir()) == []


def test_kill_9_in_mid_run_leaves_no_process(environment: dict[str, str], tmp_path: Path) -> None:
    process = Process([DEMO], {"TMPDIR": str(tmp_path)}, ROOT)
    try:
        process.expect("kubiya exec agent ops", 90)
        process.signal(signal.SIGKILL)
        process.wait()
        all_gone(of(tmp_path), GONE_WITHIN)
    finally:
        process.kill()


def test_why_the_stack_did_not_start_is_told_as_a_line() -> None:
    error = {"message": "Port 1 is taken", "exit_code": 69, "remedy": "Choose another"}
    assert said(f"{json.dumps({'error': error})}\n") == "Port 1 is taken. Choose another"
    assert said("one\ntwo\n") == "one\ntwo" and said("") == ""


def test_wrong_usage_is_told(environment: dict[str, str]) -> None:
    run = subprocess.run([DEMO, "--jsn"], env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode != 0 and "--jsn" in run.stderr and run.stdout == ""


def test_an_old_python_first_on_path_is_told_in_one_line(tmp_path: Path) -> None:
    """The demo runs in a copy without a .venv, and there is no other Python to find."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/demo", "scripts/lib.sh", "scripts/demo.py", "setup.cfg", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "scripts" / "demo").chmod(0o755)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "cat", "cksum", "env", "rm"):
        (tools / tool).symlink_to(subprocess.run(["which", tool], capture_output=True, text=True).stdout.strip())
    (tools / "python3").write_text('#!/bin/bash\n[ "$1" = --version ] && echo "Python 3.8.18" && exit\nexit 1\n')
    (tools / "python3").chmod(0o755)
    run = subprocess.run(
        [str(tmp_path / "scripts" / "demo")], env={"PATH": str(tools)}, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 78
    last = run.stderr.splitlines()[-1]
    assert last.startswith("scripts/demo: needs Python 3.11 or newer; this host has Python 3.8.18. Install one"), (
        run.stderr
    )
