"""KUBIYA_API_LOG_FILE: what the control plane did not take, and nothing that is secret."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.control_plane import errors, fault_log
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.fault_log import FaultLog
from tests.support.scripted_plane import Reply, ScriptedPlane

KEY = "kby_secret_of_this_test"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_refused_and_failed_requests_are_lines_without_bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "api.log"
    monkeypatch.setenv("KUBIYA_API_LOG_FILE", str(path))
    with ScriptedPlane() as plane:
        plane.others = lambda seen: Reply(422, {"detail": "no such status"}) if seen.method == "PATCH" else Reply(204)
        client = ControlPlane(plane.url, KEY)
        client.disconnect("w1", reason="done")
        with pytest.raises(errors.Refused):
            client.patch_execution("e1", status="nonsense", response="the secret plan")
        client.close()
    away = ControlPlane("http://127.0.0.1:1", KEY)
    with pytest.raises(errors.Unreachable):
        away.get_execution("e1")
    away.close()
    refused, unreachable = _lines(path)
    assert refused["status"] == 422 and refused["method"] == "PATCH" and refused["error"] == "no such status"
    assert refused["url"] == f"{plane.url}/api/v1/executions/e1" and refused["time"].endswith("+00:00")
    assert unreachable["status"] is None and "refused" in unreachable["error"].lower()
    assert "secret" not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_the_variable_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBIYA_API_LOG_FILE", raising=False)
    assert FaultLog.of_environment() is None


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_log, "LARGEST", 1000)
    path = tmp_path / "api.log"
    log = FaultLog(str(path))
    for number in range(20):
        log.add("GET", "http://plane/", 500, f"fault {number}")
    assert path.stat().st_size <= 1000 and (tmp_path / "api.log.1").stat().st_size <= 1000
    assert _lines(path)[-1]["error"] == "fault 19"


def test_a_place_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    log = FaultLog(str(tmp_path / "missing" / "api.log"))
    log.add("GET", "http://plane/", 500, "x")
    log.add("GET", "http://plane/", 500, "x")
