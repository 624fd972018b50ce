"""`--reason`: each command that changes something takes it, and the audit record has it."""

from __future__ import annotations

from typing import Any

import click
import pytest

from kubiya_worker.server.actor import reason_of
from tests.support.api import Api
from tests.support.commands import Commands
from tests.unit.cli.test_kinds import all_commands

# They change nothing of a control plane. A new command is in one of these, or takes --reason.
READING = {"ls", "get", "show", "list", "status", "logs", "top", "watch", "files", "export", "history", "diff"}
READING |= {"head", "verify", "deliveries", "attach"}
OF_THIS_HOST = ("worker", "dev", "init", "explain", "config", "doctor", "server", "uninstall", "completion", "test")
OTHERS = {"mcp serve", "mcp test", "models test"}  # what a client asks later is its own; a try of a server is made here


def takes_reason(command: click.Command) -> bool:
    return any("--reason" in one.opts for one in command.params)


def test_each_changing_command_takes_a_reason_and_no_other_one_does() -> None:
    found = all_commands()
    changing = {
        words
        for words in found
        if words.split()[0] not in OF_THIS_HOST and words.split()[-1] not in READING and words not in OTHERS
    }
    assert {words for words in found if takes_reason(found[words])} == changing
    assert len(changing) > 45


def why(api: Api, action: str) -> Any:
    return api.call("GET", f"/audit?action={action}&limit=1")[0].get("reason")


def test_the_record_has_the_reason_of_each_kind_of_change(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    plane.agent(name="with-a-reason", description="before")
    monkeypatch.setattr(click, "edit", lambda text, **_: text.replace("before", "after"))
    file = tmp_path / "one.yaml"
    file.write_text("kind: Skill\nname: with-a-reason\nspec: {type: sleep}\n")
    key = plane.key("viewer")["id"]
    execution = plane.execute()
    calls: dict[str, tuple[str, ...]] = {
        "agent.update": ("agents", "edit", "with-a-reason"),
        "skill.create": ("apply", "-f", str(file)),
        "skill.delete": ("delete", "skill", "with-a-reason"),
        "definition.rollback": ("rollback", "skill", "with-a-reason", "1"),
        "key.update": ("keys", "edit", key, "--name", "other"),
        "key.revoke": ("keys", "rm", key),
        "execution.cancel": ("runs", "cancel", execution),
        "stop.set": ("stop-all",),
        "stop.lift": ("stop-all", "--lift"),
    }
    for action, words in calls.items():
        kubiya(*words, "--reason", f"because of {action}: wär's 100 %?")
        assert why(plane, action) == f"because of {action}: wär's 100 %?"
    assert "because: because of stop.lift" in kubiya("audit", "ls").out
    kubiya("agents", "rm", "with-a-reason")
    assert why(plane, "agent.delete") is None, "a reason is of one command"


def test_a_reason_is_one_line_of_bounded_length_without_credentials() -> None:
    assert reason_of({"x-kubiya-reason": "a%0Ab%1B[31m%20%C3%A4"}) == "a b[31m ä"
    assert len(reason_of({"x-kubiya-reason": "x " * 600})) == 500
    assert reason_of({"x-kubiya-reason": "token ghp_" + "a1B2" * 9}) == "(hidden)"
    assert reason_of({}) == ""
