"""`kubiya worker support-bundle` as it is typed: X1 over what it packs, and a host on which everything is broken."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.leak_check import leaks
from tests.support.daemon import Daemons
from tests.support.small_disk import small_disk
from tests.support.stack import wait_until

pytestmark = pytest.mark.timeout(400)
IN_ENV, IN_CONFIG, IN_FILE, IN_TOOL, IN_PROXY = (f"canary-{n}-Zq7/x+w=" for n in ("env", "cfg", "file", "tool", "pxy"))
UNKNOWN = "kby_unknownCanary0123456789"  # nobody here knows it: its make tells


def _next(state: dict[str, Any], worker: int) -> bool:
    """Return whether another worker is ready; until its death is noticed, the state still names the killed one."""
    child = state["child"] or {}
    return child.get("pid") != worker and bool(child.get("ready_at"))


def _texts(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    with tarfile.open(path) as tar:
        for entry in tar:
            stream = tar.extractfile(entry)
            assert stream is not None
            found[entry.name.removeprefix("kubiya-support/")] = stream.read().decode()
    return found


def test_x1_no_secret_of_any_place_is_in_it_and_all_the_rest_is(daemons: Daemons, tmp_path: Path) -> None:
    stack = daemons.stack
    (tmp_path / "filed").write_text(IN_FILE)
    config = daemons.home / ".kubiya" / "worker-config.yaml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(f'control_plane:\n  api_key: "{IN_CONFIG}"\nlogging:\n  level: ${{file:{tmp_path}/level}}\n')
    (tmp_path / "level").write_text("INFO")
    # What the worker was started with is not what the calling shell has.
    daemons.start(
        OPENAI_API_KEY=IN_ENV,
        OPENAI_BASE_URL="http://127.0.0.1:9",
        LITELLM_API_KEY_FILE=str(tmp_path / "filed"),
        HTTP_PROXY=f"http://me:{urllib.parse.quote(IN_PROXY, safe='')}@127.0.0.1:9",
        NO_PROXY="127.0.0.1",
        KUBIYA_METRICS_PORT="0",
        SERVICE_TOKEN=IN_TOOL,
    )
    skills = [{"type": "shell", "name": "shell", "configuration": {"allowed_commands": ["printenv"]}}]
    stack.call("PUT", "/secrets/SERVICE_TOKEN", {"value": IN_TOOL})
    environment = {"secrets": ["SERVICE_TOKEN"]}
    agent = stack.agent("canary", skills=skills, execution_environment=environment)
    script = [{"tools": [{"name": "shell", "arguments": {"command": "printenv SERVICE_TOKEN"}}]}, {"text": "done"}]
    stack.wait(stack.execute("demo:script " + json.dumps(script), agent=agent), "completed", "waiting_for_input")
    worker = daemons.worker_pid()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: _next(daemons.state(), worker), 60, "the next worker is ready")
    wait_until(lambda: daemons.status()["worker"].get("polling"), 30, "and says so")
    secrets = [stack.key, IN_ENV, IN_CONFIG, IN_FILE, IN_TOOL, IN_PROXY]
    with (daemons.folder() / "logs" / "worker.log").open("a") as log:
        log.write(f"2026-11-26T09:00:00.000000Z error canary.sung {UNKNOWN} {json.dumps(UNKNOWN)}\n")
        for secret in secrets:
            coded = base64.b64encode(f"me:{secret}".encode()).decode()
            forms = (secret, coded, urllib.parse.quote(secret, safe=""), json.dumps(json.dumps(f'"{secret}')))
            log.write(f"2026-11-26T09:00:00.000000Z error canary.sung {' '.join(forms)} end\n")

    out = tmp_path / "bundle.tar.gz"
    done = daemons.run("worker", "support-bundle", "--output", str(out), KUBIYA_API_KEY="", timeout=180)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600 and str(out) in done.stdout
    texts = _texts(out)
    for name, text in [*texts.items(), ("the screen", done.stdout + done.stderr)]:
        assert UNKNOWN not in text
        assert leaks(f"{name}\n{text}".encode(), secrets) == [], name
    assert texts["workers/default/worker.log"].count("canary.sung") == len(secrets) + 1
    assert "worker.ready" in texts["workers/default/worker.log"]
    assert f"pid {worker}" in texts["workers/default/deaths.txt"] and "SIGKILL" in texts["workers/default/deaths.txt"]
    assert "kubiya_worker_uptime_seconds" in texts["workers/default/metrics.txt"]
    told = json.loads(texts["workers/default/environment.json"])
    assert told["OPENAI_API_KEY"] == "[set, hidden]" and told["OPENAI_BASE_URL"] == "http://127.0.0.1:9"
    assert json.loads(texts["workers/default/status.json"])["state"] == "running"
    assert "temporalio==" in "".join(json.loads(texts["versions.json"])["packages"])
    settings = {row["name"]: row for row in json.loads(texts["settings.json"])}
    assert settings["api_key"] == {"name": "api_key", "value": "[set, hidden]", "from": f"{config}:2"}
    assert {check["name"]: check["status"] for check in json.loads(texts["doctor.json"])["checks"]}["python"] == "pass"
    listed = {file["name"] for file in json.loads(texts["manifest.json"])["files"]}
    assert listed == set(texts) - {"manifest.json"}
    assert all(name in done.stdout for name in texts)


def test_a_host_with_nothing_but_broken_files(tmp_path: Path) -> None:
    """No worker runs, the configuration is not valid, files are folders and pipes: the bundle says so."""
    folder = tmp_path / ".kubiya" / "workers" / "broken"
    (folder / "logs").mkdir(parents=True)
    (folder / "state.json").mkdir()
    os.mkfifo(folder / "status.json")
    os.mkfifo(folder / "logs" / "worker.log")
    (folder / "worker.pid").write_text("{")
    (tmp_path / ".kubiya" / "worker-config.yaml").write_text("control_plane: {api_kye: canary-misspelt-secret")
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])}

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "kubiya_worker.cli.main", "worker", "support-bundle", *flags]
        return subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=200)

    done = run()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (out,) = tmp_path.glob("kubiya-support-*.tar.gz")
    texts = _texts(out)
    missing = {row["name"]: row["why"] for row in json.loads(texts["manifest.json"])["not_there"]}
    assert missing["workers/broken/worker.log"] == missing["workers/broken/worker-status.json"] == "not a file"
    assert missing["workers/broken/state.json"] == "not a file"
    assert "not valid YAML" in missing["settings.json"]
    assert "canary-misspelt-secret" not in "".join(texts.values())
    assert {"doctor.json", "host.json", "versions.json", "workers/broken/status.json"} <= set(texts)

    again = run("-o", str(out))
    assert again.returncode == 64 and again.stderr.count("\n") == 1 and "is there already" in again.stderr
    nowhere = run("-o", "/proc/x")
    assert nowhere.returncode == 78 and "/proc/x cannot be written" in nowhere.stderr


def test_a_full_disk_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4k") as disk:
        (disk / "filler").write_bytes(b"x" * 4096)
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])}
        argv = [sys.executable, "-m", "kubiya_worker.cli.main", "worker", "support-bundle", "-o", str(disk)]
        done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 75
        assert "No space left on device" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
        assert [path.name for path in disk.iterdir()] == ["filler"]
