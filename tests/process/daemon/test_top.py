"""`kubiya worker top` in a real terminal, over real workers."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.support.daemon import KUBIYA, Daemons
from tests.support.stack import wait_until
from tests.support.terminal import CONTROL_C, Terminal

pytestmark = pytest.mark.timeout(240)
SLEEP = 'demo:script [{"tools": [{"name": "sleep", "arguments": {"seconds": 60}}]}, {"text": "slept"}]'
TITLES = "QUEUE STATE UP RESTARTS CPU % MEMORY SLOTS DONE FAILED TOKENS COST EVENT LAG LOOP LAG POLLS"


def _open(daemons: Daemons, *flags: str, columns: int = 140) -> Terminal:
    return Terminal([KUBIYA, "worker", "top", *flags], daemons.environment(), daemons.home, columns=columns)


def _until(terminal: Terminal, pattern: str) -> str:
    """The first whole drawing that has a line like this."""
    deadline = time.monotonic() + 60
    while True:
        terminal.expect("q quits", 60)
        frames = [part for part in terminal.raw.split("\x1b[H") if "q quits" in part]
        frame = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frames[-1]).replace("\r", "")
        if re.search(pattern, frame, re.MULTILINE):
            return frame
        assert time.monotonic() < deadline, f"{pattern!r} is not in\n{frame}"


def test_rows_follow_the_workers_and_the_terminal_is_left_as_it_was(daemons: Daemons) -> None:
    stack = daemons.stack
    other = stack.queue("top-other")
    daemons.start("default", KUBIYA_METRICS_PORT="0")
    daemons.start("top-other")
    agent = stack.agent("top", skills=[{"type": "sleep", "name": "sleep"}])
    with _open(daemons, "--interval", "0.3") as terminal:
        before = terminal.modes_before
        _until(terminal, r"  2 of 2 workers running, 0 steps active  approvals waiting: \d+")
        execution = stack.execute(SLEEP, agent=agent, queue=other)
        _until(terminal, r"^top-other +RUNNING +\S+ +0 .* \d+\.\d MiB +1/10 +")
        _until(terminal, f"^top-other  at agent-execution-{execution}/call_tool")
        _until(terminal, r", 1 step active  ")
        os.kill(daemons.worker_pid(), signal.SIGKILL)
        _until(terminal, r"^default  last death: .*SIGKILL \(crash\)")
        _until(terminal, r"2 of 2 workers running")

        terminal.resize(40)
        frame = _until(terminal, r"^QUEUE +STATE +SLOTS +FAILED +POLLS$")
        assert all(len(line) <= 40 for line in frame.splitlines()), frame
        terminal.send("x")  # nothing
        terminal.send("q")
        assert terminal.wait() == 0
        assert terminal.modes == before
        assert terminal.raw.endswith("\x1b[?25h\x1b[?1049l")
    stack.call("POST", f"/executions/{execution}/cancel", {})


@pytest.mark.parametrize("end", ["control-c", "SIGTERM"])
def test_every_way_out_leaves_the_terminal_clean(end: str, daemons: Daemons) -> None:
    with _open(daemons, "--interval", "0.3") as terminal:
        before = terminal.modes_before
        terminal.expect("There are no workers here", 90)
        if end == "SIGTERM":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            terminal.send(CONTROL_C)
        assert terminal.wait() == 0
        assert terminal.modes == before
        assert terminal.raw.endswith("\x1b[?25h\x1b[?1049l")


def test_control_z_gives_the_shell_its_terminal_and_fg_takes_it_again(daemons: Daemons) -> None:
    script = f"set -m; {KUBIYA} worker top --interval 0.3; echo suspended; stty -a; fg; echo code $?"
    with Terminal(["bash", "-c", script], daemons.environment(), daemons.home) as terminal:
        before = terminal.modes_before
        terminal.expect("There are no workers here", 90)
        assert terminal.modes != before
        terminal.send("\x1a")
        terminal.expect("suspended", 60)
        terminal.expect(" icanon ", 60)
        terminal.expect("There are no workers here", 90)
        terminal.send("q")
        terminal.expect("code 0", 60)
        assert terminal.wait() == 0
        assert terminal.modes == before


@pytest.mark.slow
def test_without_a_terminal_it_is_one_plain_table(daemons: Daemons) -> None:
    daemons.start("default", KUBIYA_METRICS_PORT="0")
    # The start says ready a moment before the worker's next look at its pollers.
    wait_until(lambda: re.search(r" (\d+|yes)$", daemons.run("worker", "top").stdout.rstrip()), 60, "it polls")
    for flags in ([], ["--once", "--queue-id", "default"]):
        done = daemons.run("worker", "top", *flags)
        head, titles, row = done.stdout.splitlines()
        assert head.startswith("1 of 1 workers running, 0 steps active  approvals waiting: ")
        assert " ".join(titles.split()) == TITLES
        found = re.fullmatch(
            r"default +RUNNING +[\dms]+ +0 +\d+\.\d +\d+\.\d MiB +0/10 +\d+ +0 +0 +- +0 ms +[\d.]+ m?s +(\d+|yes)", row
        )
        assert found, row
        assert "\x1b" not in done.stdout
    daemons.run("worker", "stop", "--queue-id", "default")
    done = daemons.run("worker", "top", KUBIYA_API_KEY="")
    assert re.search(r"^default +STOPPED( +[-0]){12}$", done.stdout, re.MULTILINE), done.stdout
    assert "approvals waiting: ? (No API key is given)" in done.stdout


def test_what_is_typed_wrongly(daemons: Daemons, tmp_path: Path) -> None:
    done = daemons.run("worker", "top", "--interval", "0", check=False)
    assert done.returncode == 64 and done.stderr.count("\n") == 1
    done = daemons.run("worker", "top", "--queue-id", "../x", check=False)
    assert done.returncode == 64 and done.stderr.count("\n") == 1
    done = daemons.run("worker", "top", "--once", "--queue-id", "never-started")
    assert re.search(r"^never-started +STOPPED", done.stdout, re.MULTILINE)
