"""Look at a worker that runs in the background, as a person does. No test here changes it, so one serves all."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import SEEN_BY_ROOT, Daemons
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def daemons(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    with Daemons(stack, tmp_path_factory.mktemp("running")) as made:
        made.start(CONTROL_PLANE_URL="http://127.0.0.1:9", LOG_LEVEL="INFO")
        yield made


def test_files_are_private_and_true(daemons: Daemons) -> None:
    folder = daemons.folder()
    for path in (folder, folder / "logs"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for name in ("worker.pid", "daemon_info.txt", "worker.py", "requirements.txt", "state.json", "logs/worker.log"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    about = daemons.pid_file()
    assert psutil.pid_exists(about["pid"]) and about["deployment_type"] == "local"
    assert about["worker_dir"] == str(folder) and about["log_file"] == str(folder / "logs" / "worker.log")
    assert about["queue_name"] == "default" and about["started_at"].endswith("Z")
    key = daemons.stack.key.encode()
    files = [Path(path, name) for path, _, names in os.walk(folder) for name in names]
    assert not [p for p in files if key in _content(p)]
    assert not [line for line in daemons.command_lines() if daemons.stack.key in line]


def _content(path: Path) -> bytes:
    """Return the content of a file, and nothing for a link, a socket, or a file that has gone, such as a draft."""
    try:
        return path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    except FileNotFoundError:
        return b""


def test_a_second_start_says_who_runs_and_touches_nothing(daemons: Daemons) -> None:
    pid = daemons.pid_file()["pid"]
    before = (daemons.worker_pid(), (daemons.folder() / "worker.pid").read_bytes())
    queue_id = str(daemons.pid_file()["queue_id"])
    for name in ("default", queue_id):  # the queue's other name leads to the same worker
        done = daemons.run("worker", "start", "--queue-id", name, "-d", check=False)
        assert done.returncode == 75 and f"pid {pid}" in done.stderr
    assert (daemons.worker_pid(), (daemons.folder() / "worker.pid").read_bytes()) == before


@SEEN_BY_ROOT
def test_the_callers_terminal_is_left_alone(daemons: Daemons) -> None:
    """A daemon that kept the caller's descriptors would keep `ssh host kubiya worker start -d` from returning."""
    pid = daemons.pid_file()["pid"]
    for process in (psutil.Process(pid), psutil.Process(daemons.worker_pid())):
        assert os.getsid(process.pid) != os.getsid(0)
        assert process.terminal() is None
        assert process.cwd() in ("/", str(daemons.folder()))


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_finds_the_health_of_control_plane_and_workers(daemons: Daemons) -> None:
    assert "healthy" in daemons.shell(f"curl -sf {daemons.stack.url}/health")
    url = f"{daemons.stack.url}/api/v1/workers/default/health"
    assert (
        json.loads(daemons.shell(f'curl -sf -H "Authorization: Bearer $KUBIYA_API_KEY" {url}'))["active_workers"] >= 1
    )


@SEEN_BY_ROOT
def test_the_ports_of_the_guide_are_the_ones_that_are_used(daemons: Daemons) -> None:
    """`telnet`: the control plane's port answers before a worker is started, and that is where the worker goes."""
    host, _, port = daemons.stack.url.removeprefix("http://").partition(":")
    daemons.shell(f"exec 3<>/dev/tcp/{host}/{port}")
    peers = {c.raddr.port for c in psutil.Process(daemons.worker_pid()).net_connections() if c.raddr}
    assert peers <= {int(port), daemons.stack.temporal_port} and daemons.stack.temporal_port in peers


def test_the_gateway_variable_wins(daemons: Daemons) -> None:
    assert daemons.pid_file()["control_plane_url"] == daemons.stack.url


def test_looking_at_the_logs_folder(daemons: Daemons) -> None:
    listed = daemons.shell("ls -la ~/.kubiya/workers/<queue-id>/logs/")
    assert "drwx------" in listed and "-rw-------" in listed and "worker.log" in listed
    daemons.shell("df -h")
    daemons.shell("touch ~/.kubiya/workers/<queue-id>/logs/test.log")
    assert "worker.ready" in daemons.run("worker", "logs").stdout  # not confused by it


def test_the_status_check(daemons: Daemons) -> None:
    pid = daemons.pid_file()["pid"]
    names = daemons.shell("ls -la ~/.kubiya/workers/<queue-id>/")
    for name in ("venv", "requirements.txt", "worker.py", "worker.pid", "daemon_info.txt", "logs"):
        assert name in names
    about = json.loads(daemons.shell("cat ~/.kubiya/workers/<queue-id>/worker.pid"))
    assert about["pid"] == pid
    assert {"queue_id", "worker_dir", "log_file", "pid_file", "started_at", "deployment_type"} <= set(about)
    text = daemons.shell("cat ~/.kubiya/workers/<queue-id>/daemon_info.txt")
    for fact in (str(pid), str(daemons.worker_pid()), about["log_file"], about["pid_file"], "kubiya worker stop"):
        assert fact in text
