"""The same mistake has the same exit code and the same words, whatever command it is made with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest

from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.transport import Transport
from kubiya_worker.errors import EX_NOPERM, EX_UNAVAILABLE, EX_USAGE
from tests.support.api import Api
from tests.support.commands import Commands
from tests.unit.cli.test_kinds import MADE, all_commands

# Groups that ask no control plane, or that a file or standard input is needed for.
OTHERS = frozenset(
    ("worker", "dev", "test", "init", "explain", "config", "doctor", "server", "uninstall", "completion")
)
OTHERS |= {"apply", "diff", "mcp serve"}
NEW = frozenset({"keys create", "jobs create", "secrets set"})  # their name is that of a new object
NAMES = frozenset({"name", "names", "id", "ids", "job", "execution_id", "name_or_id", "model"})
MORE: dict[str, tuple[str, ...]] = {
    "jobs create": ("--agent", "ops"),
    "keys edit": ("--name", "x"),
    "secrets set": ("--source", "env:X"),
    "approvals edit": ("--arguments", "{}"),
    "stop-all": ("--status",),
    "models test": ("--base-url", "http://127.0.0.1:1"),
}
# These take ids, not names: two never begin with "twin".
TWINS = frozenset({"approvals", "runs", "keys", "workers", "exec attach"})
CONTROL = "no\x1b[31mpe\u202ex"


def commands() -> dict[str, click.Command]:
    return {words: one for words, one in all_commands().items() if not {words, words.split()[0]} & OTHERS}


def line(words: str, command: click.Command, name: str = "ops") -> list[str]:
    """Return a command line that the parser takes, with this name for the object."""
    argv = words.split()
    for each in command.params:
        if isinstance(each, click.Argument):
            if each.name == "kind":
                argv.append("agent")
            elif each.name in NAMES and words not in NEW:
                argv.append(name)
            elif each.required:
                argv.append("1" if isinstance(each.type, click.IntRange) else "x")
        elif each.required:
            argv += [each.opts[0], each.type.choices[0] if isinstance(each.type, click.Choice) else "1"]
    return [*argv, *MORE.get(words, ())]


def named() -> Iterator[tuple[str, click.Command]]:
    """Yield the commands that take the name or the id of something that is there."""
    for words, command in commands().items():
        if words not in NEW | {"models test"} and any(each.name in NAMES for each in command.params):
            yield words, command


def told(printed: Any) -> str:
    """Return what was said, which must be one line that no terminal obeys."""
    assert printed.err.count("\n") == 1 and printed.err.rstrip("\n").isprintable(), printed
    return str(printed.err)


@pytest.mark.slow
def test_a_name_that_is_not_there(plane: Api, kubiya: Commands) -> None:
    seen = [words for words, _ in named()]
    assert len(seen) > 60 and {"agents get", "runs cancel", "secrets rm", "mcp edit", "rollback"} <= set(seen)
    for words, command in named():
        for key in ("", CONTROL):
            said = told(kubiya(*line(words, command, key), code=EX_USAGE))
            assert "is empty" in said or (said.startswith("kubiya: There is no ") and repr(key) in said), words


@pytest.mark.slow
def test_a_name_that_two_begin_with(plane: Api, kubiya: Commands) -> None:
    for name in ("twin-a", "twin-b"):
        for path, fields in MADE.values():
            plane.call("POST", path, {"name": name, **fields})
        plane.call("POST", "/stored-models", {"name": name, "model": "x"})
        plane.call("POST", "/mcp-servers", {"name": name, "url": f"https://{name}.example/mcp"})
        plane.call("PUT", f"/secrets/{name.upper().replace('-', '_')}", {"value": "a secret of a twin"})
    for words, command in named():
        if not {words, words.split()[0]} & TWINS:
            said = told(kubiya(*line(words, command, "twin"), code=EX_USAGE))
            assert "2 " in said and "These fit: " in said, words


def test_a_queue_that_is_not_there(plane: Api, kubiya: Commands) -> None:
    run = plane.execute()
    plane.call("POST", "/mcp-servers", {"name": "of-queues", "command": "x"})
    key = plane.key("viewer", "of queues")["id"]
    here = {"runs": run, "exec team": "triage", "mcp test": "of-queues", "keys": key}
    seen = []
    for words, command in commands().items():
        if any("--queue" in each.opts for each in command.params):
            seen.append(words)
            name = here.get(words, here.get(words.split()[0], "ops"))
            said = told(kubiya(*line(words, command, name), "--queue", CONTROL, code=EX_USAGE))
            assert said.startswith(f"kubiya: There is no queue {CONTROL!r}. There are: default"), words
    assert len(seen) > 12 and {"runs ls", "approvals ls", "exec agent", "runs fork", "jobs create"} <= set(seen)


@pytest.mark.slow
def test_a_wrong_key(plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_wrong")
    for words, command in commands().items():
        if words != "models test":
            said = kubiya(*line(words, command), code=EX_NOPERM).err
            assert "refuses the API key. Check KUBIYA_API_KEY" in said, words


@pytest.mark.slow
def test_a_control_plane_that_is_away(plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise errors.Unreachable("There is nobody", remedy="It is tried again")

    monkeypatch.setattr(Transport, "_request", away)
    for words, command in commands().items():
        if words != "models test":
            said = kubiya(*line(words, command), code=EX_UNAVAILABLE).err
            assert "There is nobody. Check CONTROL_PLANE_URL and the network" in said, words


def test_a_key_without_the_right(plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plane.execute()
    key = plane.key("viewer", "only reads")
    made = {"jobs": "of a viewer", "hooks": "of-a-viewer", "notifications": "of a viewer", "rules": "of a viewer"}
    for word, name in made.items():
        path, fields = MADE[word]
        plane.call("POST", path, {"name": name, **fields})
    monkeypatch.setenv("KUBIYA_API_KEY", str(key["headers"]["Authorization"]).split()[1])
    cases = (
        *(("agents", "rm", "ops"), ("delete", "agent", "ops"), ("jobs", "rm", "of a viewer")),
        *(("jobs", "trigger", "of a viewer"), ("hooks", "rm", "of-a-viewer"), ("hooks", "test", "of-a-viewer")),
        *(("notifications", "test", "of a viewer"), ("rules", "rm", "of a viewer"), ("keys", "ls"), ("audit", "ls")),
        *(("runs", "cancel", run), ("runs", "retry", run), ("runs", "say", run, "x"), ("exec", "agent", "ops", "x")),
        *(("keys", "create", "x", "--role", "viewer"), ("stop-all", "--reason", "x"), ("queues", "rm", "default")),
    )
    for argv in cases:
        said = told(kubiya(*argv, code=EX_NOPERM))
        assert said.startswith("kubiya: The control plane says: ") and said.endswith("Use a key with this right\n"), (
            argv
        )
        assert "Check KUBIYA_API_KEY" not in said
