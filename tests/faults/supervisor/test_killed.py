"""S1 and S4: whatever is killed, nothing is left behind, and nobody else is hurt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import runs
from tests.support.supervised import PATIENCE, Supervised, until

ALL_WAYS = pytest.mark.parametrize("portable", [False, True], ids=["kernel", "portable"])
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only a subreaper finds these")


@ALL_WAYS
@pytest.mark.parametrize("kind", ["sleeper", "stubborn", "lost"])
@pytest.mark.parametrize("worker", ["drains", "stubborn"])
def test_a_killed_supervisor_leaves_nobody(tmp_path: Path, kind: str, worker: str, portable: bool) -> None:
    behaviour = "drain" if worker == "drains" else "stubborn"
    steps, fields = (behaviour, f"spawn:{kind}", "ready", "wait"), {"portable": portable, "grace_period": 600}
    with Supervised(tmp_path, *steps, foreground=False, **fields) as it:
        ready, tool = it.ready(), it.spawned()
        supervisor = psutil.Process(ready["pid"])
        family = {ready["worker_pid"], tool, *(each.pid for each in supervisor.children(recursive=True))}
        assert len(family) >= 3
        supervisor.kill()
        until(lambda: not any(map(runs, family)))  # it takes up to 5 s, and what a busy machine adds


@LINUX
def test_what_hides_from_every_mark_dies_with_the_supervisor(tmp_path: Path) -> None:
    with Supervised(tmp_path, "spawn:naked", "ready", "wait", foreground=False, grace_period=600) as it:
        pid, tool = it.ready()["pid"], it.spawned()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not runs(tool))  # it takes up to 5 s, and what a busy machine adds


@ALL_WAYS
def test_a_killed_child_takes_its_tools_along(tmp_path: Path, portable: bool) -> None:
    steps = [f"once:{tmp_path}/x", "spawn:stubborn", "ready", "wait"]
    with Supervised(tmp_path, *steps, portable=portable) as it:
        ready, tool = it.ready(), it.spawned()
        os.kill(ready["worker_pid"], signal.SIGKILL)
        until(lambda: it.state()["state"] == "running" and it.state()["restarts"]["crash"] == 1)
        assert not runs(tool)


@ALL_WAYS
def test_a_killed_guard_is_made_up_for(tmp_path: Path, portable: bool) -> None:
    with Supervised(tmp_path, "spawn:stubborn", "ready", "wait", portable=portable) as it:
        ready, tool = it.ready(), it.spawned()
        guard = psutil.Process(ready["worker_pid"]).parent()
        assert guard and guard.pid != ready["pid"]
        guard.kill()
        until(lambda: it.state()["state"] == "running" and it.state()["restarts"]["crash"] == 1)
        assert not runs(ready["worker_pid"]) and not runs(tool)


@ALL_WAYS
def test_a_guard_that_does_not_answer_does_not_stop_a_stop(tmp_path: Path, portable: bool) -> None:
    fields: dict[str, Any] = {"grace_period": 0.2, "kill_after": 0.2, "portable": portable}
    with Supervised(tmp_path, "stubborn", "spawn:stubborn", "ready", "wait", **fields) as it:
        ready, tool = it.ready(), it.spawned()
        guard = psutil.Process(ready["worker_pid"]).parent()
        assert guard
        guard.suspend()
        it.signal(signal.SIGTERM)
        assert it.ended() == 75
        # They have got SIGKILL; on a busy machine they die of it later than the supervisor waits, which is 5 s.
        until(lambda: not any(map(runs, (ready["worker_pid"], tool, guard.pid))))


@ALL_WAYS
def test_a_start_after_a_double_kill_clears_away_what_was_left(tmp_path: Path, portable: bool) -> None:
    with Supervised(tmp_path, "stubborn", "spawn:stubborn", "ready", "wait", portable=portable) as it:
        ready, tool = it.ready(), it.spawned()
        guard = psutil.Process(ready["worker_pid"]).parent()
        assert guard
        for process in (psutil.Process(ready["pid"]), guard):
            process.suspend()  # neither may act before the other is gone
        for process in (guard, psutil.Process(ready["pid"])):
            process.kill()
        it.process.wait(PATIENCE)
        assert runs(tool)
        before = it.state()["deaths"]
        os.close(it.reader)
        assert it.process.stderr is not None
        it.process.stderr.close()
        it.start()
        until(lambda: it.state()["supervisor"]["pid"] != ready["pid"] and it.state()["state"] == "running")
        assert not runs(ready["worker_pid"]) and not runs(tool)
        assert it.lines("predecessor_killed") and it.state()["deaths"][: len(before)] == before


def test_a_start_right_after_a_kill_waits_for_the_old_processes_to_end(tmp_path: Path) -> None:
    with Supervised(tmp_path, "stubborn", "ready", "wait") as it:
        ready = it.ready()
        os.kill(ready["pid"], signal.SIGKILL)
        it.process.wait(PATIENCE)
        assert runs(ready["worker_pid"]), "its guard gives it time"
        os.close(it.reader)
        assert it.process.stderr is not None
        it.process.stderr.close()
        it._rest = b""
        it.start()
        again = it.ready()
        assert not runs(ready["worker_pid"]) and again["pid"] != ready["pid"]


def _cli(*args: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "kubiya_worker._supervisor", *args], capture_output=True, text=True, timeout=60
    )
    return done.returncode, json.loads(done.stdout)


def test_a_reused_pid_is_never_signalled(tmp_path: Path) -> None:
    """Each of the four parts on its own is enough to spare the stranger."""
    with Supervised(tmp_path, "ready", "wait") as it, subprocess.Popen(["sleep", "300"]) as stranger:
        it.ready()
        content = json.loads(it.pid_file.read_text())
        assert _cli("check", str(it.pid_file)) == (0, {"alive": True, "pid": content["pid"], "reason": ""})
        stale = tmp_path / "stale"
        try:
            for part, value in (("start", "ticks:1"), ("boot", "id:other"), ("executable", "/bin/other"), ("pid", 1)):
                changed = {**content, "identity": {**content["identity"], part: value}}
                stale.write_text(json.dumps(changed))
                code, answer = _cli("signal", str(stale), "KILL")
                assert (code, answer["alive"]) == (1, False), part
            stale.write_text(
                json.dumps({**content, "pid": stranger.pid, "identity": {**content["identity"], "pid": stranger.pid}})
            )
            code, answer = _cli("signal", str(stale), "KILL")
            assert (code, answer["alive"]) == (1, False) and str(stranger.pid) in str(answer["reason"])
            assert stranger.poll() is None and runs(content["pid"])
            assert _cli("signal", str(it.pid_file), "TERM")[0] == 0
            assert it.ended() == 0
        finally:
            stranger.kill()


def test_a_stale_pid_file_does_not_hinder_a_start(tmp_path: Path) -> None:
    (tmp_path / "worker.pid").write_text(json.dumps({"pid": os.getpid(), "identity": {"pid": os.getpid()}}))
    with Supervised(tmp_path, "ready", "echo", "wait") as it:
        assert it.ready()["pid"] == json.loads(it.pid_file.read_text())["pid"]


def test_of_many_that_start_at_once_one_wins(tmp_path: Path) -> None:
    with Supervised(tmp_path, "ready", "wait") as it:
        command = [sys.executable, "-m", "kubiya_worker._supervisor", "--spec-fd", "0", "--foreground"]
        others = [subprocess.Popen(command, stdin=-1, stderr=-1) for _ in range(4)]
        for each in others:
            assert each.stdin
            each.stdin.write(json.dumps(it.spec).encode())
            each.stdin.close()
        final = it.final()

        def decided() -> list[subprocess.Popen[bytes]] | None:
            going = [each for each in (it.process, *others) if each.poll() is None]
            return going if len(going) == 1 else None

        (winner,) = until(decided)
        assert json.loads(it.pid_file.read_text())["pid"] == winner.pid
        assert final["ready"] is (winner is it.process)
        winner.terminate()
        assert winner.wait(PATIENCE) == 0
        for each in others:
            assert each.stderr
            each.stderr.close()
        assert {each.returncode for each in (it.process, *others)} == {0, 73}
