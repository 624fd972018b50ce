"""`kubiya worker start -d`: what is wrong shows in the terminal; ready means that it polls; one per queue."""

from __future__ import annotations

import json
import signal
import socket
import subprocess

import psutil
import pytest

from tests.support.daemon import KUBIYA, Daemons
from tests.support.stack import free_port, wait_until

pytestmark = pytest.mark.timeout(240)


def test_ready_says_who_and_where_and_a_run_goes_through(daemons: Daemons) -> None:
    done = daemons.run("worker", "start", "--queue-id", "default", "-d")
    told = json.loads((daemons.folder() / "status.json").read_text())
    assert (told["state"], told["polling"]) == ("polling", True)
    pid = daemons.pid_file()["pid"]
    assert f"(pid {pid}, worker {daemons.worker_pid()})" in done.stdout
    assert f"log: {daemons.folder() / 'logs' / 'worker.log'}" in done.stdout
    execution = daemons.stack.execute("What fills the disk under /var/log?")
    daemons.stack.wait(execution, "waiting_for_input", "completed", "failed", "waiting_for_approval")
    assert daemons.stack.execution(execution)["status"] != "failed"


def test_who_waits_at_the_readiness_socket_is_told_once_with_the_supervisor(daemons: Daemons) -> None:
    path = daemons.home / "ready.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        pid = daemons.start(KUBIYA_READINESS_SOCKET=str(path))
        connection, _ = listener.accept()
        with connection:
            told = json.loads(connection.makefile().read())
        assert (told["pid"], told["worker_dir"]) == (pid, str(daemons.folder()))
        daemons.run("worker", "restart", "--queue-id", "default")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # a restart is the supervisor's own affair
            listener.accept()


def test_two_starts_at_once_make_one_worker(daemons: Daemons) -> None:
    argv = [KUBIYA, "worker", "start", "--queue-id", "default", "-d"]
    both = [
        subprocess.Popen(argv, env=daemons.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    codes = []
    for process in both:
        process.communicate(timeout=120)
        codes.append(process.returncode)
    assert sorted(codes) == [0, 75]
    # A program that the worker starts is called as it is until it has called exec.
    wait_until(lambda: sum("worker.py" in line for line in daemons.command_lines()) == 1, 30, "one worker")


@pytest.mark.slow
def test_instances_run_side_by_side(daemons: Daemons) -> None:
    first, second = daemons.start(), daemons.start("default", "--instance", "2")
    assert first != second
    listed = [json.loads(line) for line in daemons.run("worker", "list", "--json").stdout.splitlines()]
    assert [(w["instance"], w["state"], w["supervisor_pid"]) for w in listed] == [
        (1, "running", first),
        (2, "running", second),
    ]
    daemons.run("worker", "stop", "--queue-id", "default", "--instance", "2")
    assert daemons.status("--queue-id", "default")["state"] == "running"


@pytest.mark.parametrize(
    ("args", "env", "code", "words"),
    [
        ([], {"KUBIYA_API_KEY": "kby_wrong"}, 77, "refuses the API key"),
        ([], {"KUBIYA_API_KEY": ""}, 77, "No API key"),
        (["--queue-id", "nope"], {}, 78, "not known"),
        (["--queue-id", "../../etc"], {}, 64, "--queue-id"),
        ([], {"LOG_LEVEL": "loud"}, 78, "LOG_LEVEL"),
        (["--max-log-size", "many"], {}, 64, "--max-log-size"),
        (["--instance", "0"], {}, 64, "--instance"),
        ([], {"PYTHON_PATH": "no-such-python"}, 78, "PYTHON_PATH"),
        (["--package-source", "--pre"], {}, 64, "--package-source"),
    ],
)
def test_what_is_wrong_shows_before_anything_is_started(
    args: list[str], env: dict[str, str], code: int, words: str, daemons: Daemons
) -> None:
    done = daemons.run("worker", "start", "--queue-id", "default", "-d", *args, check=False, timeout=120, **env)
    assert done.returncode == code
    assert words in done.stderr.splitlines()[-1] and done.stdout == ""
    assert not daemons.processes() and not list(daemons.workers.rglob("worker.pid"))


def test_an_unreachable_control_plane_shows_in_the_terminal(daemons: Daemons) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = daemons.run("worker", "start", "--queue-id", "default", "-d", check=False, CONTROL_PLANE_GATEWAY_URL=url)
    assert done.returncode == 69 and url in done.stderr
    assert not daemons.processes()


@pytest.mark.slow
def test_a_metrics_port_is_for_one_worker(daemons: Daemons) -> None:
    port = str(free_port())
    daemons.start("default", KUBIYA_METRICS_PORT=port)
    argv = ("worker", "start", "--queue-id", "default", "-d", "--instance", "2")
    done = daemons.run(*argv, check=False, KUBIYA_METRICS_PORT=port)
    assert done.returncode == 78 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line and f"by pid {daemons.worker_pid()}" in line and "KUBIYA_METRICS_PORT" in line
    assert not daemons.folder("default", 2).exists()
    daemons.start("default", "--instance", "2", KUBIYA_METRICS_PORT="0")


def test_the_longest_time_of_a_tool_call_reaches_the_worker(daemons: Daemons) -> None:
    """The value goes from the configuration file through supervisor and venv to the call that it ends."""
    config = daemons.home / ".kubiya" / "worker-config.yaml"
    config.parent.mkdir(exist_ok=True)
    config.write_text("resources:\n  activity_timeout: 1s\n")
    config.chmod(0o600)
    daemons.start()
    agent = daemons.stack.agent("long-sleeper", skills=[{"type": "sleep", "name": "sleep"}])
    call = {"name": "sleep", "arguments": {"seconds": 300}}
    execution = daemons.stack.execute("demo:script " + json.dumps([{"tools": [call]}, {"text": "done"}]), agent=agent)
    assert daemons.stack.wait(execution)["status"] == "completed"
    (end,) = [e["data"] for e in daemons.stack.events(execution) if e["event"] in ("tool_completed", "tool_failed")]
    assert "sleep did not end within 1 s and was stopped" in str(end)


def test_a_worker_for_one_execution_is_not_started_again(daemons: Daemons) -> None:
    body = {"name": "one-run", "ephemeral": True}
    queue = daemons.stack.call("POST", "/environments/default/worker-queues", body)["id"]
    agent = daemons.stack.agent("one-run")
    supervisor = psutil.Process(daemons.start(queue, SINGLE_EXECUTION="true"))
    execution = daemons.stack.execute("demo:script " + json.dumps([{"text": "done"}]), agent=agent, queue=queue)
    assert daemons.stack.wait(execution)["status"] == "completed"
    wait_until(lambda: not supervisor.is_running(), 60, "the supervisor has ended, too")
    state = json.loads((daemons.folder(queue) / "state.json").read_text())
    assert (state["state"], state["exit_code"], [d["code"] for d in state["deaths"]]) == ("stopped", 0, [0])
    assert not (daemons.folder(queue) / "worker.pid").exists()
    daemons.stack.call("GET", f"/worker-queues/{queue}", status=404)


def test_what_only_the_worker_finds_out_shows_too(daemons: Daemons) -> None:
    done = daemons.run("worker", "start", "--queue-id", "default", "-d", check=False, TEMPORAL_NAMESPACE="nope")
    assert done.returncode == 78
    assert "refuses namespace 'nope'" in done.stderr.splitlines()[-1]
    assert "worker.registered" in done.stderr  # the log's last lines
    daemons.wait_until_gone()
    found = daemons.status("--queue-id", "default")
    assert (found["state"], found["exit_code"], len(found["deaths"])) == ("failed", 78, 1)  # tried once


def test_a_worker_that_does_not_get_ready_is_said_and_goes_on_trying(daemons: Daemons) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = daemons.run(
        *("worker", "start", "--queue-id", "default", "-d", "--wait-timeout", "3"), check=False, TEMPORAL_HOST=address
    )
    assert done.returncode == 75 and "goes on trying" in done.stderr
    assert daemons.status("--queue-id", "default")["state"] == "starting"
    daemons.run("worker", "stop", "--queue-id", "default")
    daemons.wait_until_gone()


def test_without_waiting_it_returns_at_once(daemons: Daemons) -> None:
    done = daemons.run("worker", "start", "--queue-id", "default", "-d", "--no-wait")
    assert done.stdout.startswith("started ")
    wait_until(lambda: daemons.status("--queue-id", "default")["state"] == "running", 60, "it polls")


def test_a_person_who_interrupts_the_wait_leaves_the_worker_running(daemons: Daemons) -> None:
    process = subprocess.Popen(
        [KUBIYA, "worker", "start", "--queue-id", "default", "-d"],
        env=daemons.environment(TEMPORAL_HOST=f"127.0.0.1:{free_port()}"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until((daemons.folder() / "worker.pid").exists, 60, "the supervisor runs")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert daemons.status("--queue-id", "default")["state"] == "starting"
