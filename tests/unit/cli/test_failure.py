"""A command that fails says why on standard error: as a line, or as JSON where JSON was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubiya_worker.cli.failure import wants_json

if TYPE_CHECKING:
    from tests.support.commands import Commands


@pytest.mark.parametrize("asked", [("-o", "json"), ("-ojson",), ("--output", "json"), ("--output=json",)])
def test_json_was_asked_for_so_the_error_is_json(kubiya: Commands, asked: tuple[str, ...]) -> None:
    failed = kubiya("runs", "show", "none-such", *asked, code=64)
    assert failed.out == ""
    (line,) = failed.err.splitlines()
    error = json.loads(line)["error"]
    assert error["exit_code"] == 64 and "none-such" in error["message"]


def test_the_flag_asks_for_it_too_and_faults_of_the_line_itself_are_told_so(kubiya: Commands) -> None:
    failed = json.loads(kubiya("jobs", "show", "--json", code=64).err)
    assert "Missing argument" in failed["error"]["message"] and failed["error"]["exit_code"] == 64


def test_what_the_control_plane_finds_wrong_is_there_field_by_field(kubiya: Commands) -> None:
    failed = json.loads(kubiya("jobs", "ls", "--queue", "none-such", "--json", code=64).err)["error"]
    assert "none-such" in failed["message"] and failed["remedy"] not in failed["message"]


def test_a_person_gets_a_line(kubiya: Commands) -> None:
    assert kubiya("runs", "show", "none-such", code=64).err.startswith("kubiya: ")


def test_words_after_two_hyphens_are_no_options() -> None:
    assert not wants_json(["exec", "agent", "ops", "--", "--json"])
    assert not wants_json(["exec", "agent", "ops", "print --json"])
    assert not wants_json(["runs", "ls", "-o", "yaml"])


@pytest.mark.parametrize(
    ("words", "heads"),
    [
        (("approvals", "ls", "--all"), ["ID", "TOOL", "STATUS", "AGE"]),
        (("audit", "ls"), ["NUMBER", "TIME", "WHO", "WHAT"]),
        (("keys", "ls"), ["ID", "ROLE", "PERSON", "STATUS", "USED"]),
        (("jobs", "ls"), ["JOB", "STATE", "RUNS", "LAST"]),
    ],
)
def test_each_list_begins_with_its_heads(kubiya: Commands, words: tuple[str, ...], heads: list[str]) -> None:
    kubiya.api.call("POST", "/keys", {"name": "Ann", "role": "approver", "queues": ["default"], "groups": ["sre"]})
    agent = kubiya.api.call("POST", "/agents", {"name": f"of {words[0]}"})["id"]
    job = {"name": f"of {words[0]}", "trigger_type": "manual", "entity_type": "agent", "entity_id": agent}
    kubiya.api.call("POST", "/jobs", {**job, "prompt_template": "hello"})
    listed = kubiya(*words)
    if words[0] == "approvals":
        assert (listed.out, listed.err) == ("", "There are no requests.\n"), "an empty list has no heads"
        return
    assert listed.out.splitlines()[0].split() == heads
    if words[0] == "keys":
        assert listed.out.splitlines()[-1].endswith("; groups: sre"), "what limits a key is below it"


def test_a_path_that_cannot_be_used_is_no_fault_of_the_program(kubiya: Commands, tmp_path: Path) -> None:
    failed = kubiya("audit", "export", "-f", str(tmp_path / "none" / "audit.jsonl"), code=78)
    assert "audit.jsonl: No such file or directory. Check the path" in failed.err and failed.out == ""
