"""The worker of `kubiya dev` is found by the commands about workers, and hides no other one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kubiya_worker.cli.main import call, cli
from kubiya_worker.launch import dev_worker
from kubiya_worker.launch.stack_folder import StackFolder


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    """Write what a stack of this process would have written."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBIYA_DEV_DIR", "QUEUE_ID"):
        monkeypatch.delenv(name, raising=False)
    folder = StackFolder(tmp_path / ".kubiya/dev")
    folder.logs.mkdir(parents=True)
    (folder.logs / "worker.log").write_text("2026-11-29T00:00:00Z INFO worker.registered queue=default\n")
    folder.lock_file.write_text("{}")
    folder.announce({"control_plane_url": "http://127.0.0.1:7777", "queue": "default"})
    return folder


def test_status_list_and_logs_know_it(stack: StackFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(cli, ["worker", "status"]) == 0
    told = capsys.readouterr().out
    assert "default" in told and "RUNNING" in told and f"pid {os.getpid()}" in told
    assert call(cli, ["worker", "status", "--queue-id", "default", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["log"], facts["state"]) == (str(stack.logs / "worker.log"), "running"), "as for any other worker"
    assert call(cli, ["worker", "list"]) == 0
    assert "dev" in capsys.readouterr().out.splitlines()[1].split()
    assert call(cli, ["worker", "logs"]) == 0
    assert "worker.registered" in capsys.readouterr().out
    assert call(cli, ["worker", "top", "--once"]) == 0
    told = capsys.readouterr().out
    assert "1 of 1 workers running" in told and "default (dev)" in told
    assert call(cli, ["worker", "top", "--once", "--queue-id", "another"]) == 0
    assert "(dev)" not in capsys.readouterr().out


def test_it_hides_no_other_worker(stack: StackFolder, tmp_path: Path) -> None:
    (tmp_path / ".kubiya/workers/default").mkdir(parents=True)
    assert dev_worker.meant(None) is None
    assert dev_worker.meant("default") is None, "a worker of that queue is here"
    assert dev_worker.find(os.environ) is not None


def test_a_stack_that_is_gone_has_no_worker(stack: StackFolder) -> None:
    stack.lock_file.write_text('{"pid": 4194999, "queue": "default"}')
    assert dev_worker.find(os.environ) is None
    stack.lock_file.write_text(json.dumps({"pid": os.getpid(), "queue": "default"}))
    os.utime(stack.lock_file, (1, 1))
    assert dev_worker.find(os.environ) is None, "its number belongs to a younger process"
    stack.lock_file.write_text("no JSON")
    assert dev_worker.find(os.environ) is None
