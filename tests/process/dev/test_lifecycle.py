"""A running `kubiya dev`: what it says, what survives what, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubiya_worker.launch import temporal_server
from tests.support.dev import BREAKS_DOWN, PORTS, Dev, all_gone, another_temporal, command_line
from tests.support.stack import BIN, free_port, wait_until
from tests.support.terminal import CONTROL_C, Terminal

GONE_WITHIN = 60.0  # seconds: a guard's grace of 3, and a machine that is busy


def test_it_prepares_a_shell_keeps_executions_and_ctrl_c_stops_all(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path)
    started.append(dev)
    dev.ready()
    for name in ("env", "key"):
        assert stat.S_IMODE((dev.state / name).stat().st_mode) == 0o600
    for name in ("temporal.db", "control-plane.db"):
        assert stat.S_IMODE((dev.state / name).stat().st_mode) & 0o077 == 0, name
    assert stat.S_IMODE(dev.state.stat().st_mode) == 0o700
    environment = dev.environment()
    assert environment["KUBIYA_API_KEY"].startswith("kby_")
    assert (
        environment["CONTROL_PLANE_URL"] == environment["CONTROL_PLANE_GATEWAY_URL"] == dev.facts["control_plane_url"]
    )
    assert "QUEUE_ID" not in environment, "it would hide the other workers of this host"

    first = dev.kubiya("exec", "agent", "ops", 'demo:script [{"text": "kept"}]')
    assert (first.returncode, first.stdout) == (0, "kept\n"), first.stderr
    (execution,) = set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", first.stderr))

    everything = dev.everything()
    text = "\n".join(map(command_line, everything)) + "\n".join(dev.process.lines)
    assert environment["KUBIYA_API_KEY"] not in text
    assert set(dev.tree()) == {"temporal", "control-plane", "worker"}
    # The control plane's log rotates; what it prints is in the same file.
    assert f"--log-file {dev.state / 'logs' / 'control-plane.log'}" in command_line(dev.tree()["control-plane"])
    assert "control_plane.listening" in (dev.state / "logs" / "control-plane.log").read_text()

    second = Dev(tmp_path)
    started.append(second)
    assert second.process.wait() == 75
    (line,) = second.process.lines
    assert f"A local stack runs already in {dev.state} (pid {dev.process.pid}" in line
    assert f". {dev.state / 'env'}" in line and f"kill {dev.process.pid}" in line

    assert dev.stop(signal.SIGINT) == 0, dev.process.lines
    all_gone(everything, GONE_WITHIN)
    said = [line for line in dev.process.lines if "stopping" in line]
    assert said[0] == "kubiya dev: stopping; press Ctrl-C again to force it"
    for log in (dev.state / "logs").iterdir():
        assert environment["KUBIYA_API_KEY"] not in log.read_text(), log

    again = Dev(tmp_path)
    started.append(again)
    again.ready()
    assert again.environment()["KUBIYA_API_KEY"] == environment["KUBIYA_API_KEY"]
    kept = again.kubiya("exec", "attach", "-o", "json", execution)
    assert json.loads(kept.stdout)["answer"] == "kept", kept.stderr
    assert again.stop(signal.SIGTERM) == 0


def test_kill_9_of_it_leaves_no_process_and_loses_nothing(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path).ready()
    started.append(dev)
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "large.log").write_bytes(b"x" * 3_000_000)
    run = dev.kubiya("exec", "agent", "ops", f"What fills the disk under {disk}?", "--no-wait", "-o", "json")
    assert run.returncode == 75, run.stderr
    left = json.loads(run.stdout)
    assert "kubiya approvals approve" in left["detached"]
    execution = left["execution_id"]
    everything = dev.everything()
    dev.process.signal(signal.SIGKILL)
    all_gone(everything, GONE_WITHIN)
    again = Dev(tmp_path).ready()
    started.append(again)
    over = again.kubiya("exec", "attach", execution, "--approve", "--timeout", "60s", "-o", "json")
    result = json.loads(over.stdout)
    assert result["status"] == "completed" and str(disk / "large.log") in result["answer"], over.stderr
    assert again.stop() == 0


def test_a_killed_worker_is_started_again_and_it_is_said(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path, "--ephemeral").ready()
    started.append(dev)
    before = dev.tree()["worker"]
    before.kill()
    dev.process.expect(r"^kubiya dev: the worker was killed \(SIGKILL: .*\)\. It is started again in 1 s$")
    wait_until(lambda: dev.tree().get("worker") not in (None, before), 60, "another worker")
    run = dev.kubiya("exec", "agent", "ops", 'demo:script [{"text": "again"}]')
    assert run.stdout == "again\n", run.stderr
    assert dev.stop() == 0


@pytest.mark.parametrize("name", ["temporal", "control-plane"])
def test_a_killed_server_ends_it_with_one_line_and_nothing_left(tmp_path: Path, started: list[Dev], name: str) -> None:
    dev = Dev(tmp_path, "--ephemeral").ready()
    started.append(dev)
    everything = dev.everything()
    dev.tree()[name].kill()
    assert dev.process.wait(60) == 69, dev.process.lines
    error = json.loads(dev.process.expect('"error":'))["error"]
    assert re.match(r"(Temporal|The control plane) was killed \(SIGKILL: ", error["message"]), error
    assert error["remedy"].startswith("See ") and error["remedy"].endswith(f"{name}.log"), error
    all_gone(everything, GONE_WITHIN)


def test_a_temporal_that_breaks_down_while_it_starts_is_started_again(tmp_path: Path, started: list[Dev]) -> None:
    count = tmp_path / "starts"
    real = temporal_server.find_program()
    script = f'echo x >> {count}; [ $(wc -l < {count}) -gt 2 ] && exec {real} "$@"\n{BREAKS_DOWN}'
    dev = Dev(tmp_path, "--ephemeral", PATH=another_temporal(tmp_path, script)).ready()
    started.append(dev)
    assert dev.stop() == 0
    assert count.read_text() == "x\n" * 3


@pytest.mark.slow
def test_a_temporal_that_runs_already_is_used(tmp_path: Path, started: list[Dev]) -> None:
    first_home, second_home = tmp_path / "one", tmp_path / "two"
    first_home.mkdir()
    second_home.mkdir()
    first = Dev(first_home, "--ephemeral", "--queue-id", "mine").ready()
    started.append(first)
    second = Dev(second_home, "--temporal-address", first.facts["temporal_address"], "--ephemeral").ready()
    started.append(second)
    assert set(second.tree()) == {"control-plane", "worker"}
    assert second.facts["temporal_ui_url"] is None
    for dev in (second, first):
        run = dev.kubiya("exec", "agent", "ops", 'demo:script [{"text": "here"}]')
        assert run.stdout == "here\n", run.stderr
    assert second.stop() == 0
    run = first.kubiya("exec", "agent", "ops", 'demo:script [{"text": "still"}]')
    assert run.stdout == "still\n", run.stderr
    assert first.stop() == 0
    assert not list((first.state / "ephemeral").glob("*"))


@pytest.mark.slow
def test_a_queue_by_id(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path, "--queue-id", "mine").ready()
    started.append(dev)
    assert dev.facts["queue"] == "mine"
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {dev.environment()['KUBIYA_API_KEY']}"
        queues: list[dict[str, Any]] = session.get(f"{dev.facts['control_plane_url']}/api/v1/worker-queues").json()
    queue_id = next(q["id"] for q in queues if q["name"] == "mine")
    assert dev.stop() == 0
    again = Dev(tmp_path, "--queue-id", queue_id).ready()
    started.append(again)
    run = again.kubiya("exec", "agent", "ops", "--queue", "mine", 'demo:script [{"text": "mine"}]')
    assert run.stdout == "mine\n", run.stderr
    assert again.stop() == 0


def test_on_a_terminal_it_says_what_to_type_next_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    with Terminal([str(BIN / "kubiya"), "dev", *PORTS, "--ephemeral"], environment, tmp_path) as terminal:
        terminal.expect("Ctrl-C stops everything.", 90)
        for text in (
            "control plane",
            "Temporal",
            "dashboard",
            "ready in",
            ". ~/.kubiya/dev/env",
            'kubiya exec agent ops "',
        ):
            assert text in terminal.text, terminal.text
        root = psutil.Process(terminal.process.pid)
        everything = [root, *root.children(recursive=True)]
        terminal.send(CONTROL_C)  # to the foreground process group, as a keyboard does
        terminal.expect("stopping Temporal")
        assert terminal.wait() == 0
        all_gone(everything, GONE_WITHIN)


def test_the_default_ports_are_the_published_ones(tmp_path: Path, started: list[Dev]) -> None:
    """7777, 7233, 8233; whatever holds them here is named."""
    dev = Dev(tmp_path, "--temporal-port", str(free_port()), "--no-ui", "--ephemeral", ports=False)
    started.append(dev)
    wait_until(lambda: dev.process.lines, 90, "a word")
    line = dev.process.lines[0]
    assert (
        '"control_plane_url": "http://127.0.0.1:7777"' in line or "Port 7777, for the control plane, is taken" in line
    )


@pytest.mark.slow
def test_its_end_ends_long_commands_whatever_the_setting_and_the_next_run_says_so(
    tmp_path: Path, started: list[Dev]
) -> None:
    ports = ("--port", str(free_port()), "--temporal-port", "0", "--ui-port", "0")  # the folder goes by the address
    dev = Dev(tmp_path, *ports, ports=False, KUBIYA_KEEP_LONG_COMMANDS="true").ready()
    started.append(dev)
    marked = f"sleep {600 + os.getpid() / 1e7:.7f}"
    steps = [
        {"tools": [{"name": "shell_start", "arguments": {"command": marked}}]},
        {"tools": [{"name": "shell_wait", "arguments": {"seconds": 7200}}]},
        {"text": "done"},
    ]
    skill = {"allowed_commands": ["sleep"], "long_commands": True, "long_timeout_seconds": 7200}
    skills = [{"name": "shell", "type": "shell", "configuration": skill}]
    agent = dev.call("POST", "/agents", {"name": "long", "model_id": "demo", "skills": skills})["id"]
    asked = {"prompt": f"demo:script {json.dumps(steps)}", "worker_queue_id": dev.facts["queue"]}
    execution = dev.call("POST", f"/agents/{agent}/execute", asked)["execution_id"]

    def running() -> list[psutil.Process]:
        return [each for each in psutil.process_iter() if command_line(each) == marked]

    wait_until(running, 60, "the command runs")
    assert dev.stop() == 0
    assert running() == []
    again = Dev(tmp_path, *ports, ports=False, KUBIYA_KEEP_LONG_COMMANDS="true").ready()
    started.append(again)
    assert again.kubiya("exec", "attach", execution).stdout == "done\n"
    messages = again.call("GET", f"/executions/{execution}/session")["messages"]
    told = [each["content"] for each in messages if each["role"] == "tool"]
    assert "[stopped: " in told[-1], told
    assert again.stop() == 0
