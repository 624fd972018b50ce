"""Secrets in definition files: by a source or by a place, never as a value, and the value is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support import databases
from tests.support.api import Api
from tests.support.commands import Commands

VALUE = "c4nary-of-a-file"
ALL = """\
kind: Secret
name: WATCH_TOKEN
spec:
  value_from: {env: TOKEN_OF_THIS_SHELL}
---
kind: Agent
name: watcher
spec:
  description: with everything
  configuration:
    mcp_servers:
      tickets:
        url: https://tickets.example/mcp
        headers: {Authorization: "Bearer {{.secret.WATCH_TOKEN}}"}
---
kind: Rule
name: watcher asks
spec: {scope_type: all, action: ask}
---
kind: Job
name: watcher every morning
spec: {agent: watcher, trigger_type: cron, cron_schedule: "0 6 * * *", prompt_template: Look.}
"""


def written(folder: Path, text: str) -> str:
    (folder / "all.yaml").write_text(text)
    return str(folder / "all.yaml")


def stored(api: Api, name: str) -> str | None:
    found = api.plane.stores.secrets.value("local", name)
    return found[0] if found else None


def test_agent_mcp_server_rule_secret_and_job_in_one_file(
    plane: Api, kubiya: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, ALL)
    told = kubiya("apply", "-f", file, code=78).err
    assert f"{file}:4: spec.value_from: This shell has no variable TOKEN_OF_THIS_SHELL" in told
    assert plane.ask("GET", "/agents/watcher").status_code == 404
    monkeypatch.setenv("TOKEN_OF_THIS_SHELL", VALUE)
    shown = kubiya("apply", "-f", file, "--dry-run")
    assert stored(plane, "WATCH_TOKEN") is None and "4 created" in shown.err
    first = kubiya("apply", "-f", file)
    assert stored(plane, "WATCH_TOKEN") == VALUE and "4 created" in first.err
    again = kubiya("apply", "-f", file)
    assert "4 unchanged" in again.err
    monkeypatch.setenv("TOKEN_OF_THIS_SHELL", f"{VALUE}-2")
    changed = kubiya("apply", "-f", file)
    assert "another value, which is not shown" in changed.out and "3 unchanged" in changed.err
    assert stored(plane, "WATCH_TOKEN") == f"{VALUE}-2"
    everything = kubiya("export").out + kubiya("history", "secret", "WATCH_TOKEN", "--json").out
    for printed in (shown, first, again, changed):
        everything += printed.out + printed.err
    assert "WATCH_TOKEN" in everything and VALUE not in everything
    assert plane.call("GET", "/secrets")[0]["used_by"][0]["name"] == "watcher"
    everywhere = databases.written(plane.plane.database)
    assert b"WATCH_TOKEN" in everywhere and VALUE.encode() not in everywhere


def test_a_value_does_not_stand_in_a_file(plane: Api, kubiya: Commands, tmp_path: Path) -> None:
    file = written(tmp_path, f"kind: Secret\nname: OPEN\nspec:\n  value: {VALUE}\n")
    told = kubiya("apply", "-f", file, code=78).err
    assert f"{file}:4: spec.value: A value does not stand in a file" in told and VALUE not in told
    assert stored(plane, "OPEN") is None


def test_a_file_beside_the_definitions_or_a_source_has_the_value(plane: Api, kubiya: Commands, tmp_path: Path) -> None:
    (tmp_path / "token.txt").write_text(VALUE)
    document = "kind: Secret\nname: {}\nspec: {}\n"
    file = written(tmp_path, document.format("OF_FILE", "{value_from: {file: token.txt}}"))
    kubiya("apply", "-f", file)
    assert stored(plane, "OF_FILE") == VALUE
    file = written(tmp_path, document.format("OF_FILE", "{value_from: {file: no.txt}}"))
    assert "no.txt cannot be read" in kubiya("apply", "-f", file, code=78).err
    for wrong in ("{env: A, file: b}", "{vault: x}", "text", "{env: 5}"):
        file = written(tmp_path, document.format("OF_FILE", f"{{value_from: {wrong}}}"))
        kubiya("apply", "-f", file, code=78)
    file = written(tmp_path, document.format("OF_SOURCE", "{source: 'env:KUBIYA_SECRET_X'}"))
    kubiya("apply", "-f", file)
    assert yaml.safe_load(kubiya("get", "secret", "OF_SOURCE", "-o", "yaml").out)["spec"] == {
        "source": "env:KUBIYA_SECRET_X"
    }


def test_an_exported_secret_is_kept_as_it_is_and_one_that_is_not_there_needs_a_value(
    plane: Api, kubiya: Commands, tmp_path: Path
) -> None:
    plane.call("PUT", "/secrets/KEPT", {"value": VALUE})
    exported = kubiya("get", "secret", "KEPT", "-o", "yaml").out
    assert "1 unchanged" in kubiya("apply", "-f", written(tmp_path, exported)).err
    assert stored(plane, "KEPT") == VALUE
    kubiya("delete", "secret", "KEPT")
    assert "give source or value_from" in kubiya("apply", "-f", written(tmp_path, exported), code=78).err


def test_prune_removes_the_secrets_of_the_set(plane: Api, kubiya: Commands, tmp_path: Path) -> None:
    document = "kind: Secret\nname: {}\nspec: {{source: 'env:KUBIYA_SECRET_X'}}\n"
    kubiya("apply", "-f", written(tmp_path, document.format("PRUNED")), "--source", "secrets")
    kubiya("apply", "-f", written(tmp_path, document.format("LEFT")), "--source", "secrets", "--prune")
    names = {one["name"] for one in plane.call("GET", "/secrets")}
    assert "LEFT" in names and "PRUNED" not in names


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("mcp_server", "MCPServer"),
        ("Webhook", "trigger_type: webhook"),
        ("Thing", "kind is one of Secret, Skill, MCPServer, Environment"),
    ],
)
def test_what_is_no_kind_is_refused_with_its_place(kind: str, said: str, kubiya: Commands, tmp_path: Path) -> None:
    file = written(tmp_path, f"kind: {kind}\nname: x\n")
    told = kubiya("apply", "-f", file, code=78).err
    assert f"{file}:1: kind: " in told and said in told
