"""Every step of the worker guide's daemon, log, troubleshooting and status sections, as a person types it."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import KUBIYA, Daemons
from tests.support.stack import Process, free_port, wait_until

pytestmark = pytest.mark.timeout(300)
QUEUE = "default"


# -- Daemon management


def test_tail_f_shows_the_log(daemons: Daemons) -> None:
    daemons.start(QUEUE)
    tail = Process(
        ["tail", "-n", "+1", "-f", str(daemons.folder() / "logs" / "worker.log")], daemons.environment(), daemons.home
    )
    try:
        tail.expect("worker.ready")
        daemons.run("worker", "stop")
        tail.expect("worker.disconnected")
    finally:
        tail.kill()


def test_ps_shows_the_worker_and_kill_stops_it(daemons: Daemons) -> None:
    daemons.start(QUEUE)
    mine = str(daemons.folder() / "worker.py")
    lines = [x for x in daemons.shell('ps auxww | grep "worker.py"').splitlines() if mine in x]
    pid = int(lines[0].split()[1])  # a program that the worker starts is called as it is until it has called exec
    assert pid == daemons.worker_pid() and not any(daemons.stack.key in line for line in lines)
    daemons.shell(f"kill {pid}")
    daemons.wait_until_gone()  # supervisor and all: it ended as it was asked to
    assert daemons.status()["exit_code"] == 0
    assert not (daemons.folder() / "worker.pid").exists()


def test_kill_of_the_pid_files_pid_stops_both(daemons: Daemons) -> None:
    pid = daemons.start(QUEUE)
    daemons.shell(f"kill {pid}")
    daemons.wait_until_gone()
    assert not (daemons.folder() / "worker.pid").exists() and not (daemons.folder() / "daemon_info.txt").exists()
    log = (daemons.folder() / "logs" / "worker.log").read_text()
    assert "worker.drained" in log and "worker.disconnected" in log


def test_kill_9_of_the_worker_restarts_it(daemons: Daemons) -> None:
    daemons.start(QUEUE)
    worker = daemons.worker_pid()
    daemons.shell(f"kill -9 {worker}")
    wait_until(lambda: daemons.state()["state"] == "running" and daemons.worker_pid() != worker, 60, "restarted")
    text = daemons.shell("cat ~/.kubiya/workers/<queue-id>/daemon_info.txt")
    # It stays true. The line is looked at alone, as any number may stand elsewhere: a date has 2026.
    assert re.findall(r"^Worker PID +(\d+) ", text, re.MULTILINE) == [str(daemons.worker_pid())]


# -- Log rotation


def test_the_flags_of_the_rotation_reach_the_daemon(daemons: Daemons) -> None:
    daemons.run(
        *("worker", "start", f"--queue-id={QUEUE}", "--daemon", "--max-log-size=52428800", "--max-log-backups=10")
    )
    text = (daemons.folder() / "daemon_info.txt").read_text()
    assert "52428800" in text and "10 backups" in text


def test_rotation_as_it_is_pasted(daemons: Daemons) -> None:
    """A shell makes two commands of this text, because blanks and a comment stand behind the backslash."""
    text = (
        "kubiya worker start \\\n  --queue-id=<queue-id> \\\n  --daemon \\\n"
        "  --max-log-size=52428800 \\    # 50 MB\n  --max-log-backups=10; true"
    )
    assert daemons.shell(text).startswith("ready: ")
    assert "52428800" in (daemons.folder() / "daemon_info.txt").read_text()


@pytest.mark.slow
def test_rotated_files_have_the_guides_names(daemons: Daemons) -> None:
    daemons.start(QUEUE, "--max-log-size", "4096", "--max-log-backups", "2", LOG_LEVEL="DEBUG")
    logs = daemons.folder() / "logs"
    for _ in range(10):
        if (logs / "worker.log.2").exists():
            break
        daemons.run("worker", "restart")
    daemons.run("worker", "stop")  # else the next line may rotate them
    assert {p.name for p in logs.iterdir()} == {"worker.log", "worker.log.1", "worker.log.2"}
    assert all(p.stat().st_size <= 4096 for p in logs.iterdir())


# -- Worker fails to start


def test_the_api_key_is_named_when_it_is_missing(daemons: Daemons) -> None:
    assert daemons.shell("echo $KUBIYA_API_KEY").strip() == daemons.stack.key
    done = daemons.run("worker", "start", "--queue-id", QUEUE, check=False, KUBIYA_API_KEY="")
    assert done.returncode == 77 and "KUBIYA_API_KEY" in done.stderr


def test_an_old_python_is_one_line(daemons: Daemons, tmp_path: Path) -> None:
    old = tmp_path / "python3.8"
    old.write_text("#!/bin/sh\necho 'Python 3.8.18'\n")
    old.chmod(0o755)
    done = daemons.run("worker", "start", "--queue-id", QUEUE, check=False, PYTHON_PATH=str(old))
    assert done.returncode == 78 and "3.8.18" in done.stderr and "3.11" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_variables_of_debug_logging_work(daemons: Daemons) -> None:
    worker = Process(
        ["bash", "-c", f"export LOG_LEVEL=DEBUG KUBIYA_DEBUG=true; exec kubiya worker start --queue-id={QUEUE}"],
        daemons.environment(),
        daemons.home,
    )
    try:
        worker.expect("worker.ready", 90)
        assert any(" debug " in line for line in worker.lines)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    finally:
        worker.kill()


# -- Connection errors


@pytest.mark.slow
def test_temporal_that_cannot_be_reached_is_named(daemons: Daemons) -> None:
    """The control plane answers here; the start and the status both name the address that is awaited."""
    address = f"127.0.0.1:{free_port()}"
    argv = ("worker", "start", "--queue-id", QUEUE, "-d", "--wait-timeout", "20")
    done = daemons.run(*argv, check=False, TEMPORAL_HOST=address)
    assert done.returncode == 75 and f"failed to connect to Temporal at {address}" in done.stderr.splitlines()[-1]
    assert f"Temporal at {address}" in daemons.run("worker", "status").stdout


def test_an_unreachable_control_plane_is_named(daemons: Daemons) -> None:
    url = "http://127.0.0.1:9"
    done = daemons.run("worker", "start", "--queue-id", QUEUE, "-d", check=False, CONTROL_PLANE_GATEWAY_URL=url)
    assert done.returncode == 69 and url in done.stderr and "CONTROL_PLANE_GATEWAY_URL" in done.stderr


def test_the_proxy_settings_are_used(daemons: Daemons) -> None:
    """A proxy that is not there: the worker says that it cannot get through, and where to look."""
    done = daemons.run(
        *("worker", "start", "--queue-id", QUEUE, "-d"),
        check=False,
        CONTROL_PLANE_GATEWAY_URL="http://control-plane.invalid",
        HTTP_PROXY="http://127.0.0.1:9",
        NO_PROXY="",
        no_proxy="",
    )
    assert done.returncode == 69 and "control-plane.invalid" in done.stderr


# -- Python dependencies


@pytest.mark.slow
def test_clearing_the_venv_heals_it(daemons: Daemons) -> None:
    daemons.start(QUEUE)
    daemons.run("worker", "stop")
    daemons.shell("rm -rf ~/.kubiya/workers/<queue-id>/venv")
    daemons.start(QUEUE)
    assert psutil.Process(daemons.worker_pid()).cmdline()[0] == str(daemons.folder() / "venv" / "bin" / "python")


def test_restarting_in_the_foreground_makes_the_venv_again(daemons: Daemons) -> None:
    """ "Module not found": the venv is there, and something in it is not."""
    daemons.start(QUEUE)
    daemons.run("worker", "stop")
    for path in (daemons.folder() / "venv" / "lib").rglob("*.pth"):
        path.unlink()
    worker = Process([KUBIYA, "worker", "start", f"--queue-id={QUEUE}"], daemons.environment(), daemons.home)
    try:
        worker.expect("worker.ready", 90)
        assert any("venv" in line for line in worker.lines)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    finally:
        worker.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_manual_repair(daemons: Daemons) -> None:
    """It fetches packages, so it needs an index."""
    daemons.start(QUEUE)
    daemons.run("worker", "stop")
    daemons.shell("rm -rf ~/.kubiya/workers/<queue-id>/venv")
    daemons.shell(
        "cd ~/.kubiya/workers/<queue-id> && unset PYTHONPATH && python3 -m venv venv"
        " && source venv/bin/activate && pip install -q -r requirements.txt",
    )
    done = daemons.run("worker", "start", "--queue-id", QUEUE, "-d")
    assert "made by hand" in done.stderr and done.stdout.startswith("ready: ")
    assert (daemons.folder() / "venv" / "bin" / "pip").exists()


# -- High memory usage


def test_max_concurrent_activities_reaches_the_worker(daemons: Daemons) -> None:
    """The limit also holds: three calls could run at the same time, and one does."""
    daemons.start(QUEUE, MAX_CONCURRENT_ACTIVITIES="1")
    agent = daemons.stack.agent("sleeper", skills=[{"type": "sleep", "name": "sleep"}])
    call = {"name": "sleep", "arguments": {"seconds": 1}}
    script = "demo:script " + json.dumps([{"tools": [call]}, {"text": "slept"}])
    executions = [daemons.stack.execute(script, agent=agent) for _ in range(3)]
    spans = []
    for execution in executions:
        assert daemons.stack.wait(execution)["status"] == "completed"
        (made,) = daemons.stack.call("GET", f"/analytics/executions/{execution}/details")["tool_calls"]
        spans.append((made["started_at"], made["completed_at"]))
    spans.sort()
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans)), spans


# -- Logs not appearing


def test_a_folder_that_cannot_be_written_is_named(daemons: Daemons) -> None:
    daemons.workers.mkdir(parents=True)
    (daemons.workers / QUEUE).write_text("in the way")
    done = daemons.run("worker", "start", "--queue-id", QUEUE, "-d", check=False)
    assert done.returncode == 78 and str(daemons.workers / QUEUE) in done.stderr


def test_a_logs_folder_that_is_none_is_named(daemons: Daemons) -> None:
    daemons.folder().mkdir(parents=True)
    (daemons.folder() / "logs").write_text("in the way")
    done = daemons.run("worker", "start", "--queue-id", QUEUE, "-d", check=False)
    assert done.returncode == 78 and str(daemons.folder() / "logs") in done.stderr
    assert not daemons.processes()


def test_the_log_level_says_what_is_written(daemons: Daemons) -> None:
    daemons.start(QUEUE, LOG_LEVEL="ERROR")
    daemons.run("worker", "stop")
    log = (daemons.folder() / "logs" / "worker.log").read_text()
    assert "worker.ready" not in log and "supervisor.started" in log  # whose lines are few, and always there


# -- Worker status check


def test_the_queue_in_the_environment_is_enough(daemons: Daemons) -> None:
    """Containers give QUEUE_ID only."""
    daemons.run("worker", "start", "-d", QUEUE_ID=QUEUE)
    assert os.getsid(daemons.worker_pid()) != os.getsid(0)
    daemons.run("worker", "stop", QUEUE_ID=QUEUE)
