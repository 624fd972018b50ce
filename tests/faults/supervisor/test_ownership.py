"""A supervisor owns its instance by lock and identity: its PID file may be removed, overwritten or moved while it runs.

The command line is the real one, with a puppet as the worker: what it finds, stops and refuses depends on the
supervisor only.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubiya_worker._supervisor.posix import control, ownership
from tests.support.processes import runs
from tests.support.stack import BIN, ROOT
from tests.support.supervised import PATIENCE, Supervised, until

Fate = Callable[[Path], object]


def _replaced(path: Path) -> None:
    (path.parent / "other").write_text("4711\n")
    (path.parent / "other").replace(path)


def _named_otherwise(path: Path) -> None:
    record = json.loads(path.read_text())
    record["pid"] = record["identity"]["pid"] = os.getppid()
    path.write_text(json.dumps(record))


def _linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def _foldered(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FATES: dict[str, Fate] = {
    "removed": Path.unlink,
    "overwritten": lambda path: path.write_text("12345\n"),
    "truncated": lambda path: os.truncate(path, 0),
    "moved": lambda path: path.rename(path.with_name("worker.pid.old")),
    "replaced by another file": _replaced,
    "made to name another process": _named_otherwise,
    "replaced by a link": _linked,
    "replaced by a folder": _foldered,
    "replaced by a named pipe": _piped,
}
ALL_FATES = pytest.mark.parametrize("fate", FATES.values(), ids=FATES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the worker of queue q1 in a home of its own."""
    made = tmp_path / "home" / ".kubiya" / "workers" / "q1"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def running(folder: Path) -> Iterator[Supervised]:
    fields = {"pid_fields": {"queue_id": "q1", "stop_within": "30", "drain_signal": "QUIT"}, "drains": "SIGQUIT"}
    with Supervised(folder, "ready", "finish:0.1", "beat:1", "wait", foreground=False, **fields) as made:
        made.ready()
        yield made


def kubiya(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    base = {k: v for k, v in os.environ.items() if not k.startswith(("KUBIYA_", "SUPERVISOR_", "NOTIFY_"))}
    env = {
        **base,
        "HOME": str(folder.parents[2]),
        "PYTHONPATH": str(ROOT),
        "KUBIYA_API_KEY": "kby_of_nobody",
        "CONTROL_PLANE_GATEWAY_URL": "http://127.0.0.1:9",
    }
    argv = [str(BIN / "kubiya"), "worker", *args, "--queue-id", "q1"]
    return subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def second(running: Supervised) -> subprocess.CompletedProcess[str]:
    """Start another supervisor with the same orders."""
    argv = [sys.executable, "-m", "kubiya_worker._supervisor", "--spec-fd", "0", "--foreground"]
    return subprocess.run(argv, input=json.dumps(running.spec), capture_output=True, text=True, timeout=60)


@ALL_FATES
def test_status_and_start_know_it_whatever_became_of_its_pid_file(
    fate: Fate, running: Supervised, folder: Path
) -> None:
    pid = running.pid
    fate(running.pid_file)
    status = kubiya(folder, "status", "--json")
    told = json.loads(status.stdout)
    assert (status.returncode, told["state"], told["supervisor_pid"]) == (0, "running", pid), told
    assert told["queue_id"] == "q1" and not told["stale_pid_file"]
    fate(running.pid_file) if running.pid_file.is_file() else None
    start = kubiya(folder, "start", "-d")
    assert start.returncode == 75 and f"running already (pid {pid}" in start.stderr, start.stderr
    refused = second(running)  # also without the command line's own look before
    assert refused.returncode == 73 and str(pid) in refused.stderr


@ALL_FATES
def test_stop_stops_it_whatever_became_of_its_pid_file(fate: Fate, running: Supervised, folder: Path) -> None:
    pid = running.pid
    assert pid
    fate(running.pid_file)
    stopped = kubiya(folder, "stop")
    assert stopped.returncode == 0 and f"pid {pid}" in stopped.stdout, (stopped.stdout, stopped.stderr)
    assert not runs(pid) and running.state()["state"] == "stopped"
    assert not ownership.lock_file(str(running.pid_file)).exists()


@pytest.mark.parametrize("command", [["stop", "-f"], ["drain"]], ids=["kill", "drain"])
def test_drain_and_kill_find_it_without_a_pid_file(command: list[str], running: Supervised, folder: Path) -> None:
    pid = running.pid
    assert pid
    running.pid_file.unlink()
    done = kubiya(folder, *command)
    assert done.returncode == 0, (done.stdout, done.stderr)
    until(lambda: not runs(pid))


def test_it_is_found_when_the_lock_file_is_gone_too(running: Supervised, folder: Path) -> None:
    pid = running.pid
    running.pid_file.unlink()
    ownership.lock_file(str(running.pid_file)).unlink()
    assert second(running).returncode == 73
    told = json.loads(kubiya(folder, "status", "--json").stdout)
    assert (told["state"], told["supervisor_pid"], told["queue_id"]) == ("running", pid, "q1")
    assert kubiya(folder, "stop").returncode == 0 and pid and not runs(pid)


def test_it_makes_its_files_again(running: Supervised) -> None:
    lock = ownership.lock_file(str(running.pid_file))
    files = (running.pid_file, running.info_file, running.state_file, lock)
    before = {path: path.read_text() for path in files}
    for path in files:
        path.unlink()
    until(lambda: all(path.exists() and path.read_text() == before[path] for path in files if path.suffix != ".json"))
    until(lambda: running.state().get("state") == "running")
    assert running.lines("file_restored")
    assert second(running).returncode == 73 and ownership.is_locked(str(running.pid_file))


def test_a_lost_notify_socket_is_made_again_before_the_child_counts_as_hung(tmp_path: Path) -> None:
    with Supervised(tmp_path, "ready", "beats:0.2", "wait", watchdog=7) as it:
        it.ready()
        worker, sockets = it.state()["child"]["pid"], Path(f"{it.state_file}.run")
        for name in ("notify", "control"):
            (sockets / name).unlink()
        until(lambda: len(it.lines("file_restored")) == 2)
        until(lambda: control.ask(str(sockets / "control")).get("state") == "running")
        time.sleep(5)  # the watchdog's time, counted from the loss, is over; nothing may come of it
        assert it.state()["restarts"]["hung"] == 0 and it.state()["child"]["pid"] == worker


@pytest.mark.parametrize("child", ["echo", pytest.param("slowly:7", marks=pytest.mark.slow)])
def test_one_that_leaves_removes_only_what_is_its_own(child: str, tmp_path: Path) -> None:
    """It makes nothing again either, also where the child takes longer than the time between two looks."""
    with Supervised(tmp_path, "ready", child, "wait") as it:
        it.ready()
        sockets = Path(f"{it.state_file}.run")
        os.kill(it.process.pid, signal.SIGSTOP)  # it must not make them again meanwhile
        others: list[socket.socket] = []
        for path in (sockets / "control", sockets / "notify"):
            path.unlink()
            other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            other.bind(str(path))
            others.append(other)
        lock = ownership.lock_file(str(it.pid_file))
        for path in (it.pid_file, it.info_file, lock):
            path.unlink()
            path.write_text("another's")
        it.signal(signal.SIGTERM)
        os.kill(it.process.pid, signal.SIGCONT)
        assert it.ended() == 0
        for other in others:
            other.close()
        assert {path.name for path in sockets.iterdir()} == {"control", "notify"}
        assert [path.read_text() for path in (it.pid_file, it.info_file, lock)] == ["another's"] * 3


@pytest.mark.parametrize("removed", [False, True], ids=["its files stay", "its files are removed"])
def test_a_start_after_a_kill_needs_no_help(removed: bool, running: Supervised) -> None:
    pid, worker = running.pid, running.state()["child"]["pid"]
    assert pid
    os.kill(pid, signal.SIGKILL)
    if removed:
        running.pid_file.unlink()
    os.close(running.reader)
    assert running.process.stderr is not None
    running.process.wait(PATIENCE)
    running.process.stderr.close()
    running.start()
    again = running.ready()
    assert again["pid"] != pid and not runs(worker)
    assert json.loads(running.pid_file.read_text())["pid"] == again["pid"]


def test_a_supervisor_that_does_not_answer_is_unknown_with_the_age_of_its_last_state(
    running: Supervised, folder: Path
) -> None:
    pid = running.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    status = kubiya(folder, "status", "--json")
    told: dict[str, Any] = json.loads(status.stdout)
    assert (status.returncode, told["state"], told["answers"], told["supervisor_pid"]) == (0, "unknown", False, pid)
    assert told["state_age"] > 0 and "the last state is running" in told["why"]
    assert "UNKNOWN" in kubiya(folder, "status").stdout
    os.kill(pid, signal.SIGCONT)
    until(lambda: json.loads(kubiya(folder, "status", "--json").stdout)["state"] == "running")


def test_status_asks_the_process_and_not_its_file(running: Supervised, folder: Path) -> None:
    running.state_file.write_text(json.dumps({**running.state(), "state": "backing_off"}))
    assert json.loads(kubiya(folder, "status", "--json").stdout)["state"] == "running"
    running.state_file.unlink()
    assert json.loads(kubiya(folder, "status", "--json").stdout)["state"] == "running"


def test_a_peer_that_connects_and_reads_nothing_does_not_hold_it_up(running: Supervised) -> None:
    address = json.loads(running.pid_file.read_text())["control"]
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(address)
        assert control.ask(address)["state"] == "running"
