"""`kubiya hooks`: what a hook makes of a delivery, and what came to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.commands import Commands

SECRET = "s3cret-of-the-hook"
HOOK = {"source": "alertmanager", "agent": "ops", "queue": "default", "proof": {"secret": "{{.secret.ALERTS}}"}}


@pytest.fixture
def hook(plane: Api) -> Iterator[str]:
    plane.call("PUT", "/secrets/ALERTS", {"value": SECRET})
    yield str(plane.call("POST", "/hooks", {"name": "alerts", **HOOK}, 201)["name"])
    plane.call("DELETE", "/hooks/alerts")


def test_a_sample_shows_verdict_fields_and_prompt(hook: str, kubiya: Commands) -> None:
    said = kubiya("hooks", "test", hook, "--sample", "alertmanager").out
    assert "verdict: started" in said and "title: DiskFull: The disk /var of web-1 is full" in said
    assert 'Title: "DiskFull: The disk /var of web-1 is full"' in said and "execution:" not in said
    assert "Nothing has come" in kubiya("hooks", "deliveries", hook).err


def test_a_try_can_start_and_is_listed(hook: str, kubiya: Commands) -> None:
    started = kubiya("hooks", "test", hook, "--start", "--json").json
    assert started["verdict"] == "started"
    table = kubiya("hooks", "deliveries", hook).out
    assert started["execution_id"] in table and "started" in table and "DiskFull" in table
    assert "Nothing has come" in kubiya("hooks", "deliveries", hook, "--verdict", "refused").err


def test_a_refused_delivery_is_listed_with_its_reason(hook: str, plane: Api, kubiya: Commands) -> None:
    assert plane.ask("POST", f"//hooks/{hook}", {}, key=False).status_code == 401
    (row,) = kubiya("hooks", "deliveries", hook, "--verdict", "refused", "-o", "json").json
    assert row["reason"] == "It shows no secret: a proof of the kind bearer is expected in Authorization"


def test_a_body_of_a_file_is_tried_with_headers(hook: str, plane: Api, kubiya: Commands, tmp_path: Path) -> None:
    plane.call("POST", "/hooks", {**HOOK, "name": "forge", "source": "github"}, 201)
    file = tmp_path / "body.json"
    file.write_text(json.dumps({"action": "opened", "issue": {"number": 1, "title": "It fails"}}))
    said = kubiya("hooks", "test", "forge", "--file", str(file), "-H", "X-GitHub-Event: issues").out
    assert "event: issues.opened" in said and "title: It fails" in said
    assert "NAME: VALUE" in kubiya("hooks", "test", "forge", "-H", "nonsense", code=64).err
    file.write_text("[1]")
    assert "no JSON object" in kubiya("hooks", "test", "forge", "--file", str(file), code=64).err
    assert "contradict" in kubiya("hooks", "test", "forge", "--file", str(file), "--sample", "json", code=64).err
