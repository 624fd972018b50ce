"""These tests check what `kubiya worker logs` says where there is nothing to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.cli import main, worker_logs
from kubiya_worker.errors import EX_OK, EX_USAGE
from kubiya_worker.launch.home import Home, find


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(worker_logs, "container_of", lambda home, examined: None)  # this host may have an engine
    monkeypatch.delenv("QUEUE_ID", raising=False)
    made = find("misspelt")
    made.make()
    return made


def test_a_queue_whose_worker_never_started_has_no_log(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.call(main.cli, ["worker", "logs", "--queue-id", home.queue]) == EX_USAGE
    assert "misspelt has no log here" in capsys.readouterr().err


def test_a_log_is_read_also_when_the_worker_is_gone(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.log_file.write_text("2026-11-23T10:00:00.000000Z info worker.ready\n")
    assert main.call(main.cli, ["worker", "logs", "--queue-id", home.queue]) == EX_OK
    assert "worker.ready" in capsys.readouterr().out
