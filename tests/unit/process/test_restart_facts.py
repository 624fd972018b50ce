"""Heartbeats tell of restarts what the state file of a supervisor has."""

from __future__ import annotations

import json
from pathlib import Path

from kubiya_worker.process.restart_facts import restarts


def test_counts_and_the_last_death_are_told(tmp_path: Path) -> None:
    death = {"at": "2026-11-28T10:00:00Z", "class": "crash", "why": "x" * 999, "code": 1, "signal": None, "pid": 7}
    state = {"restarts": {"crash": 2, "hung": 0}, "deaths": [{"class": "hung"}, death]}
    (tmp_path / "state").write_text(json.dumps(state))
    told = restarts(str(tmp_path / "state"))
    assert told["restarts"] == {"crash": 2}
    assert told["last_death"] == {k: death[k] for k in ("at", "class", "code", "signal")} | {"why": "x" * 300}


def test_nothing_is_told_without_a_supervisor_or_of_a_file_that_is_none(tmp_path: Path) -> None:
    assert restarts(None) == restarts(str(tmp_path / "none")) == {}
    for text in ("", "[1]", '{"deaths": 7}', '{"restarts": {"crash": "many"}}'):
        (tmp_path / "state").write_text(text)
        assert restarts(str(tmp_path / "state")) == {}, text
