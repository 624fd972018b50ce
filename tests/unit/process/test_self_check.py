"""A worker's heartbeats tell what is wrong with its host, with what mends it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.process import self_check
from kubiya_worker.process.self_check import MOST, PROGRAM, HostFindings
from kubiya_worker.settings import Settings

FULL = {"name": "disk", "status": "fail", "message": "no space at s3cret", "remedy": "du -xh s3cret"}
SLOW = {"name": "limits", "status": "warning", "message": "few files", "remedy": ""}


def test_failures_come_first_and_secrets_are_taken_out() -> None:
    findings = HostFindings(lambda text: text.replace("s3cret", "[redacted]"))
    assert findings.told() == {}
    findings.add("start", "clock", "it is late", "timedatectl set-ntp true")
    findings.set("host", [SLOW, FULL])
    told = findings.told()["findings"]
    assert [one["name"] for one in told] == ["disk", "clock", "limits"]
    assert told[0] == {**FULL, "message": "no space at [redacted]", "remedy": "du -xh [redacted]"}
    findings.set("host", [])
    assert [one["name"] for one in findings.told()["findings"]] == ["clock"]
    findings.set("host", [SLOW] * 100)
    assert len(findings.told()["findings"]) == MOST


def test_the_program_tells_what_did_not_pass_and_nothing_else(tmp_path: Path) -> None:
    asked = {"home": str(tmp_path), "folders": {"KUBIYA_SPOOL": "/proc/no/such"}, "confinement": "off"}
    (tmp_path / "config").mkdir(mode=0o755)
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KUBIYA_WORKSPCE": "/x"},
    )
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert {"confinement", "folders", "permissions", "settings"} <= set(found)
    assert found["folders"]["status"] == "fail" and found["folders"]["remedy"]
    assert found["permissions"]["remedy"] == f"chmod -R go-rwx {tmp_path / 'config'}"
    assert "did you mean KUBIYA_WORKSPACE" in found["settings"]["message"]
    assert not {"supervisor", "packages"} & set(found)


def test_the_host_is_examined_after_the_start_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [[FULL], None, []]
    monkeypatch.setattr(self_check, "_examine", lambda asked: answers.pop(0))
    monkeypatch.setattr(self_check, "AFTER", 0.0)
    monkeypatch.setattr(self_check, "EVERY", 0.0)

    async def life() -> None:
        findings, polled = HostFindings(lambda text: text), asyncio.Event()
        seen: asyncio.Queue[list[str]] = asyncio.Queue()

        def changed() -> None:
            seen.put_nowait([one["name"] for one in findings.told().get("findings", ())])

        settings = Settings(queue_id="q", api_key="k")
        watching = asyncio.create_task(self_check.watch(settings, polled, findings, changed))
        await asyncio.sleep(0)
        assert len(answers) == 3, "it waits until the worker polls"
        polled.set()
        assert await asyncio.wait_for(seen.get(), 60) == ["disk"]
        # What could not be examined is as it was; what passes is told no more.
        assert await asyncio.wait_for(seen.get(), 60) == []
        watching.cancel()

    asyncio.run(life())


def test_a_program_that_fails_is_no_fault_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "PROGRAM", "kubiya_worker.no_such_module")
    assert self_check._examine("{}") is None
