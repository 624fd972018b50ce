"""The facts of a worker for programs: one form for states, and one for times."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from kubiya_worker.launch.home import Home
from kubiya_worker.launch.report import WorkerReport


def test_the_time_of_the_workers_word_is_in_iso_form_as_all_others_are(tmp_path: Path) -> None:
    now = time.time()
    state = {"state": "running", "child": {"pid": 7}}
    status = {"pid": 7, "at": now, "state": "ready", "polling": True}
    facts = WorkerReport(Home(tmp_path / "default"), True, 6, "", {"pid": 6}, state, status).as_json()
    assert facts["state"] == "running"
    said = datetime.fromisoformat(facts["worker"]["at"])
    assert said.tzinfo == UTC and abs(said.timestamp() - now) <= 1
    assert facts["worker"]["age"] < 30
