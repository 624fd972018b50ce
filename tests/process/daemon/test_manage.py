"""`kubiya worker stop|restart|status|list`: what they do, and what they say of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.daemon import KUBIYA, Daemons
from tests.support.stack import ROOT, Process, wait_until

pytestmark = pytest.mark.timeout(240)


def test_stop_leaves_nothing_and_says_what_it_did(daemons: Daemons) -> None:
    pid = daemons.start()
    done = daemons.run("worker", "stop", "--queue-id", "default")
    assert f"pid {pid}" in done.stdout and "exit code 0" in done.stdout
    assert not daemons.processes()
    assert not (daemons.folder() / "worker.pid").exists() and not (daemons.folder() / "daemon_info.txt").exists()
    assert daemons.status("--queue-id", "default")["state"] == "stopped"


def test_the_line_of_the_docs_stops_a_worker_without_our_command(daemons: Daemons) -> None:
    line = next(line for line in (ROOT / "docs/daemon.md").read_text().splitlines() if line.startswith("kill "))
    pid = daemons.start()
    folder = "~/.kubiya/workers/my-queue"
    assert folder in line
    supervisor = psutil.Process(pid)
    subprocess.run(["bash", "-c", line.replace(folder, str(daemons.folder()))], check=True)
    supervisor.wait(60)
    assert not daemons.processes() and not (daemons.folder() / "worker.pid").exists()


def test_stop_without_a_worker_is_an_error_and_status_says_so(daemons: Daemons) -> None:
    assert daemons.run("worker", "stop", "--queue-id", "default", check=False).returncode == 1
    assert daemons.run("worker", "status", "--queue-id", "default", check=False).returncode == 1
    assert daemons.run("worker", "restart", "--queue-id", "default", check=False).returncode == 1


def test_a_stranger_with_the_pid_is_never_signalled(daemons: Daemons) -> None:
    """S4: the PID file is stale and its number is somebody else's by now."""
    daemons.start()
    path = daemons.folder() / "worker.pid"
    about = json.loads(path.read_text())
    daemons.run("worker", "stop", "--queue-id", "default")
    stranger = psutil.Popen(["sleep", "600"])
    try:
        about["pid"] = about["identity"]["pid"] = stranger.pid
        path.write_text(json.dumps(about))
        found = daemons.run("worker", "status", "--queue-id", "default", check=False)
        assert found.returncode == 3 and "STOPPED (stale PID file)" in found.stdout
        for force in ([], ["-f"]):
            path.write_text(json.dumps(about))
            done = daemons.run("worker", "stop", "--queue-id", "default", *force)
            assert "stale" in done.stdout and not path.exists()
        assert stranger.is_running() and stranger.status() != psutil.STATUS_ZOMBIE
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", "12345\n", '{"pid": "x"}'])
def test_a_pid_file_that_is_none_is_stale(content: str, daemons: Daemons) -> None:
    path = daemons.folder() / "worker.pid"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert daemons.run("worker", "status", "--queue-id", "default", check=False).returncode == 3
    assert "stale" in daemons.run("worker", "stop", "--queue-id", "default").stdout
    assert not path.exists()


def test_status_after_the_supervisor_was_killed(daemons: Daemons) -> None:
    pid = daemons.start()
    os.kill(pid, signal.SIGKILL)
    daemons.wait_until_gone()  # S1 says 5 s on an idle machine
    found = daemons.run("worker", "status", "--queue-id", "default", check=False)
    assert found.returncode == 3 and "STOPPED (stale PID file)" in found.stdout
    assert daemons.status("--queue-id", "default")["worker_pid"] is None
    assert daemons.start() != pid  # nothing is in the way


def test_status_tells_a_death_its_class_and_its_last_lines(daemons: Daemons) -> None:
    daemons.start()
    killed = daemons.worker_pid()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: daemons.state()["state"] == "running" and daemons.worker_pid() != killed, 60, "restarted")
    found = daemons.status("--queue-id", "default")
    (death,) = found["deaths"]
    assert (death["pid"], death["signal"], death["class"]) == (killed, "SIGKILL", "crash")
    assert death["uptime"] > 0 and any("worker.ready" in line for line in death["last_lines"])
    text = daemons.run("worker", "status", "--queue-id", "default").stdout
    assert "RUNNING" in text and "SIGKILL (crash)" in text and "worker.ready" in text


def test_the_worker_tells_prometheus_how_often_its_supervisor_restarted_it(daemons: Daemons) -> None:
    daemons.start(KUBIYA_METRICS_PORT="0")
    os.kill(daemons.worker_pid(), signal.SIGKILL)

    def told() -> bool:
        status = json.loads((daemons.folder() / "status.json").read_text())
        try:
            page = requests.get(status["metrics_url"], timeout=60).text
        except requests.RequestException:
            return False  # of the one that was killed
        return 'kubiya_worker_restarts_total{reason="crash"} 1' in page.splitlines()

    wait_until(told, 60, "the restart is counted")


def test_status_shows_running_tasks_and_stop_lets_them_finish(daemons: Daemons, tmp_path: Path) -> None:
    daemons.start()
    began, gate = daemons.stack.trace("began"), tmp_path / "gate"
    skill = {"type": "shell", "name": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 200}}
    command = f"sh -c 'touch {began}; until [ -e {gate} ]; do sleep 0.05; done'"
    steps = [{"tools": [{"name": "shell", "arguments": {"command": command}}]}, {"text": "over"}]
    agent = daemons.stack.agent("waiter", skills=[skill])
    execution = daemons.stack.execute("demo:script " + json.dumps(steps), agent=agent)
    wait_until(began.exists, 60, "the tool runs")
    wait_until(lambda: daemons.status("--queue-id", "default")["worker"].get("active_tasks"), 60, "a task is told")
    stop = Process([KUBIYA, "worker", "stop", "--queue-id", "default"], daemons.environment(), daemons.home)
    try:
        stop.expect("1 running task has time to finish")
        gate.touch()
        assert stop.wait() == 0 and "exit code 0" in stop.lines[-1], stop.lines
    finally:
        stop.kill()
    assert not daemons.processes()
    daemons.start()
    assert daemons.stack.wait(execution, "completed", "waiting_for_input")["status"] != "failed"
    done = [e for e in daemons.stack.events(execution) if e["event"] == "tool_completed"]
    assert len(done) == 1  # finished before the stop, and not repeated


def test_stop_kills_what_does_not_stop_and_says_so(daemons: Daemons) -> None:
    """The supervisor's own escalation: a worker that is stopped by SIGSTOP cannot drain."""
    daemons.start("default", "--grace-period", "1")
    os.kill(daemons.worker_pid(), signal.SIGSTOP)
    done = daemons.run("worker", "stop", "--queue-id", "default", check=False)
    assert not daemons.processes()
    assert "stopped in" in done.stdout or done.returncode == 1


def test_force_is_at_once(daemons: Daemons) -> None:
    daemons.start()
    done = daemons.run("worker", "stop", "--queue-id", "default", "--force")
    assert "killed" in done.stdout and not daemons.processes()
    assert not (daemons.folder() / "worker.pid").exists()


def test_restart_is_graceful_and_keeps_the_supervisor(daemons: Daemons) -> None:
    pid = daemons.start()
    before = daemons.worker_pid()
    done = daemons.run("worker", "restart", "--queue-id", "default")
    assert daemons.pid_file()["pid"] == pid and daemons.worker_pid() != before
    assert str(daemons.worker_pid()) in done.stdout
    assert daemons.state()["deaths"][-1]["class"] == "asked"
    log = (daemons.folder() / "logs" / "worker.log").read_text()
    assert "worker.drained" in log and log.count("worker.ready ") == 2


def test_a_worker_that_ran_programs_leaves_nothing_behind(daemons: Daemons) -> None:
    daemons.start()
    agent = daemons.stack.agent("shell-user", skills=[{"type": "shell", "name": "shell"}])
    steps = [{"tools": [{"name": "shell", "arguments": {"command": "echo hello"}}]}, {"text": "Done."}]
    execution = daemons.stack.execute(f"demo:script {json.dumps(steps)}", agent=agent)
    assert daemons.stack.wait(execution)["response"] == "Done."
    daemons.run("worker", "stop")
    log = (daemons.folder() / "logs" / "worker.log").read_text()
    assert "worker.drained" in log and "left_behind" not in log


def test_logs_follow_through_rotations_without_losing_or_doubling(daemons: Daemons) -> None:
    daemons.start("default", "--max-log-size", "4096", "--max-log-backups", "1000", LOG_LEVEL="DEBUG")
    follower = Process(
        [KUBIYA, "worker", "logs", "--queue-id", "default", "-f", "-n", "100000"],
        daemons.environment(),
        daemons.home,
    )
    try:
        follower.expect("worker.ready")
        for _ in range(3):
            daemons.run("worker", "restart", "--queue-id", "default")
        daemons.run("worker", "stop", "--queue-id", "default")
        follower.expect("supervisor.stopped|supervisor.ended|supervisor.exit", 60)
        everything = daemons.run("worker", "logs", "--queue-id", "default", "-n", "100000").stdout.splitlines()
        wait_until(lambda: len(follower.lines) >= len(everything), 60, "the follower has read it all")
        assert follower.lines == everything
        assert len(list((daemons.folder() / "logs").glob("worker.log.*"))) >= 1
        assert sum("worker.ready " in line for line in everything) == 4
    finally:
        follower.kill()


@pytest.mark.slow
def test_logs_are_filtered(daemons: Daemons) -> None:
    daemons.start()
    daemons.run("worker", "stop", "--queue-id", "default")

    def logs(*args: str) -> list[str]:
        return daemons.run("worker", "logs", "--queue-id", "default", *args).stdout.splitlines()

    assert logs("--level", "error") == []
    assert logs("--since", "1h") == logs("-n", "10000")
    assert logs("--since", "2999-01-01") == []
    assert len(logs("-n", "2")) == 2
    ready = [json.loads(line) for line in logs("--json") if "worker.ready" in line]
    assert ready[0]["event"] == "worker.ready" and ready[0]["level"] == "info"
    assert all("worker.registered" in line for line in logs("--execution", ready[0]["worker_id"])[:1])
    assert daemons.run("worker", "logs", "--queue-id", "other", check=False).returncode != 0
