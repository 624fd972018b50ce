"""S1, S3 and S6 through `kubiya worker start -d`: the real worker, with work that runs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.control_plane import ControlPlane
from tests.support.daemon import Daemons
from tests.support.processes import runs
from tests.support.recording_proxy import RecordingProxy
from tests.support.stack import Stack, free_port, wait_until

pytestmark = pytest.mark.timeout(240)
PATIENCE = 60.0

# A program, a child in a session of its own that ignores SIGTERM, and an orphan of both in yet another session.
FAMILY = """\
note() {{ echo $1 >>{pids}; }}
note $$
setsid sh -c "trap '' TERM; echo \\$\\$ >>{pids}; while :; do sleep 1; done" &
(setsid sh -c 'echo $$ >>{pids}; exec sleep 1000' &)
wait
"""
HANGS = """\
import asyncio
import time

from kubiya_worker.extensions import tool


@tool
async def hang() -> str:
    \"\"\"Block the event loop for ever, as a library's blocking call does.\"\"\"
    await asyncio.sleep(2)  # the start of the call is told first
    while True:
        time.sleep(0.1)
"""


@pytest.fixture
def daemons(stack: Stack, tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(stack, tmp_path) as made:
        yield made


@pytest.fixture
def proxy(stack: Stack) -> Iterator[RecordingProxy]:
    """Yield a proxy in front of the control plane, so that a test can take the control plane away."""
    with RecordingProxy(stack.port) as made:
        yield made


def call_of(tool: str, **arguments: object) -> str:
    script = [{"text": "", "tools": [{"name": tool, "arguments": arguments}]}, {"text": "done"}]
    return "demo:script " + json.dumps(script)


def die(daemons: Daemons) -> int:
    """The worker crashes. Its PID."""
    worker = daemons.worker_pid()
    os.kill(worker, signal.SIGKILL)
    return worker


def tries_again(state: dict[str, Any], deaths: int) -> bool:
    return len(state["deaths"]) == deaths and state["state"] == "starting" and bool(state["child"])


def status_of(state: dict[str, Any]) -> str:
    return str((state["child"] or {}).get("status") or "")


def test_a_killed_supervisor_leaves_no_worker_no_tool_and_no_grandchild(
    daemons: Daemons, stack: Stack, tmp_path: Path
) -> None:
    pid = daemons.start()
    pids, family_script = stack.trace("pids"), stack.trace("family.sh")
    family_script.write_text(FAMILY.format(pids=pids))
    skill = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["sh"], "timeout": 300}}
    agent = stack.agent("parent", skills=[skill])
    execution = stack.execute(call_of("shell", command=f"sh {family_script}"), agent=agent)
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 3, PATIENCE, "the tool's processes are there")
    family = [*map(int, pids.read_text().split()), *(process.pid for process in daemons.processes())]
    assert {pid, daemons.worker_pid()} < set(family)
    try:
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        wait_until(lambda: not any(map(runs, family)), PATIENCE, "all of them are gone")
        print(f"gone after {time.monotonic() - began:.1f} s")
    finally:
        for each in filter(runs, family):
            os.kill(each, signal.SIGKILL)
    stack.call("POST", f"/executions/{execution}/cancel", {})


def test_a_key_that_is_refused_later_ends_it_after_one_try(
    daemons: Daemons, proxy: RecordingProxy, tmp_path: Path
) -> None:
    """The other control plane does not know the key: as if it had been revoked."""
    with ControlPlane(tmp_path) as other:
        daemons.start(CONTROL_PLANE_GATEWAY_URL=proxy.url)
        proxy.target = other.port
        die(daemons)
        daemons.wait_until_gone(PATIENCE)
    found = daemons.status("--queue-id", "default")
    assert (found["state"], found["exit_code"]) == ("failed", 77)
    assert [death["class"] for death in found["deaths"]] == ["crash", "once"]


def test_a_network_that_is_away_is_waited_for(daemons: Daemons, proxy: RecordingProxy) -> None:
    daemons.start(CONTROL_PLANE_GATEWAY_URL=proxy.url)
    proxy.target = free_port()
    for death in range(1, 4):
        die(daemons)
        wait_until(lambda: tries_again(daemons.state(), death), PATIENCE, "it tries again")  # noqa: B023
    wait_until(lambda: status_of(daemons.state()), PATIENCE, "it says what it waits for")
    print(status_of(daemons.state()))
    proxy.target = daemons.stack.port
    wait_until(lambda: daemons.state()["state"] == "running", PATIENCE, "it polls again")
    assert [death["signal"] for death in daemons.state()["deaths"]] == ["SIGKILL"] * 3  # no death but ours


@pytest.mark.slow
def test_a_worker_that_hangs_is_noticed_and_replaced(daemons: Daemons, stack: Stack, tmp_path: Path) -> None:
    """S6: `/healthz` is red within 60 s, another worker is there within 90 s."""
    port = free_port()
    (tmp_path / "hangs.py").write_text(HANGS)
    daemons.start(KUBIYA_EXTENSIONS=str(tmp_path / "hangs.py"), KUBIYA_METRICS_PORT=str(port))
    worker = daemons.worker_pid()
    execution = stack.execute(call_of("hang"), agent=stack.agent("hanger"))
    stack.first(execution, "tool_started")
    began = time.monotonic()

    def healthy() -> int:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=60).status_code

    wait_until(lambda: healthy() == 503, 90, "/healthz is red")
    red = time.monotonic() - began
    wait_until(lambda: daemons.state()["restarts"].get("hung"), 120, "the supervisor has noticed")
    noticed = time.monotonic() - began
    wait_until(lambda: daemons.state()["state"] == "running" and daemons.worker_pid() != worker, 60, "replaced")
    replaced = time.monotonic() - began
    print(f"/healthz red after {red:.1f} s, noticed after {noticed:.1f} s, replaced after {replaced:.1f} s")
    assert red < 60 and noticed < 90
    log = (daemons.folder() / "logs" / "worker.log").read_text()
    assert "most recent call first" in log and "hangs.py" in log  # where it hung
    assert stack.wait(execution, timeout=120)["status"] == "completed"
    outcome = [e["data"] for e in stack.events(execution) if e["event"] in ("tool_completed", "tool_failed")]
    assert len(outcome) == 1  # the call was not repeated
