"""These tests check when the command line ends without the interpreter's own end."""

from __future__ import annotations

import sys
import threading

import pytest

from kubiya_worker.cli import main


def test_a_thread_that_still_runs_is_not_ended_by_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, main.TEMPORAL, raising=False)
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.main_thread()])
    assert not main.must_exit_at_once()
    left = threading.Thread(target=print, daemon=True)
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.main_thread(), left])
    assert main.must_exit_at_once()
