"""Verbs of the kinds of definitions: the same for each, by name, id, or the beginning of one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from kubiya_worker.cli import choice, completion, kinds
from kubiya_worker.cli.main import cli
from kubiya_worker.errors import EX_USAGE, UsageError
from tests.support.api import Api
from tests.support.commands import Commands

JOB = {"trigger_type": "manual", "entity_type": "agent", "entity_id": "ops", "prompt_template": "x"}
NOTIFICATION: dict[str, Any] = {
    "channel": {"type": "ntfy", "url": "https://ntfy.example.org", "topic": "t"},
    "events": ["run_failed"],
}
HOOK: dict[str, Any] = {"source": "json", "agent": "ops", "proof": {"secret": "{{.secret.A}}"}}
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "agents": ("/agents", {}),
    "skills": ("/skills", {"type": "shell"}),
    "teams": ("/teams", {}),
    "queues": ("/environments/default/worker-queues", {}),
    "rules": ("/approval-rules", {"scope_type": "all"}),
    "environments": ("/environments", {}),
    "jobs": ("/jobs", JOB),
    "notifications": ("/notifications", NOTIFICATION),
    "hooks": ("/hooks", HOOK),
}


@pytest.mark.parametrize("word", kinds.NOUNS)
def test_each_kind_has_the_same_verbs(word: str, plane: Api, kubiya: Commands) -> None:
    path, fields = MADE[word]
    name = f"verbs of {word}" if word not in ("queues", "hooks") else f"verbs-of-{word}"
    made = plane.call("POST", path, {"name": name, "description": "about it", **fields})
    table = kubiya(word, "ls", "-o", "table").out.splitlines()
    assert table[0].startswith("NAME ") and any(line.startswith(name) for line in table[1:])
    assert made["id"] in kubiya(word, "ls", "-o", "wide").out
    documents = kubiya(word, "ls", "-o", "json").json
    assert name in [each["name"] for each in documents]
    for key in (name, made["id"], made["id"][:10], name[:8], name.upper()):
        found = yaml.safe_load(kubiya(word, "get", key).out)
        assert (found["name"], found["spec"]["description"]) == (name, "about it"), key
    kubiya(word, "rm", made["id"][:10])
    assert f"There is no {word[:-1]}" in kubiya(word, "get", name, code=64).err


def edited(monkeypatch: pytest.MonkeyPatch, old: str, new: str, meanwhile: Any = lambda: None) -> None:
    """Let the editor replace a text, while somebody else does something."""

    def edit(text: str, **_: Any) -> str:
        assert old in text
        meanwhile()
        return text.replace(old, new)

    monkeypatch.setattr(click, "edit", edit)


def test_a_definition_is_edited_and_applied(plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.agent(name="to-edit", description="before")
    edited(monkeypatch, "before", "after")
    assert 'spec.description: "before" -> "after"' in kubiya("agents", "edit", "to-edit").out
    assert "Nothing was changed" in _unchanged(kubiya, monkeypatch)
    assert plane.call("GET", "/agents/to-edit")["description"] == "after"
    # It is in no set of files now, so that no `apply --prune` deletes it.
    other = {"kind": "Agent", "name": "of-a-file", "spec": {}}
    plane.call("POST", "/definitions/apply", {"documents": [other], "prune": True})
    assert plane.call("GET", "/agents/to-edit")


def _unchanged(kubiya: Commands, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(click, "edit", lambda text, **_: None)
    return kubiya("agents", "edit", "to-edit", code=64).err


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = plane.agent(name="of-two", description="before")

    def other() -> None:
        plane.call("PATCH", f"/agents/{agent['id']}", {"system_prompt": "Mine."})

    edited(monkeypatch, "before", "after", other)
    told = kubiya("agents", "edit", "of-two", code=78).err
    assert "was changed in spec.system_prompt since this text was read" in told
    stored = plane.call("GET", f"/agents/{agent['id']}")
    assert (stored["description"], stored["system_prompt"]) == ("before", "Mine.")
    kept = Path(told.split("The text is kept in ")[1].split()[0])
    assert "after" in kept.read_text() and kept.stat().st_mode & 0o077 == 0
    kept.unlink()
    edited(monkeypatch, "before", "after", lambda: plane.call("DELETE", f"/agents/{agent['id']}"))
    told = kubiya("agents", "edit", "of-two", code=78).err
    assert "was deleted since this text was read" in told
    Path(told.split("The text is kept in ")[1].split()[0]).unlink()


def test_a_wrong_text_is_told_with_its_line_and_kept(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.agent(name="wrong", description="before")
    for new, said in (("description", "descriptoin"), ("name: wrong", "name: other")):
        edited(monkeypatch, new, said)
        told = kubiya("agents", "edit", "wrong", code=78 if new == "description" else 64).err
        assert "Did you mean description?" in told or "is not the Agent 'wrong' any more" in told
        Path(told.split("The text is kept in ")[1].split()[0]).unlink()


def listed_at(words: str) -> str:
    """Return the word of completion.LISTS for a command that lists, such as `mcp ls`; empty for another command."""
    group = words.split()[0]
    return {"mcp": "mcp-servers"}.get(group, group) if words.split()[-1] == "ls" else ""


def with_queue(word: str, row: dict[str, Any]) -> bool:
    """Return whether a row says on which queue it is: itself, as a limit, or by the execution that it belongs to."""
    names = {*row, *(row.get("scopes") or {})}
    return word != "queues" and any("queue" in name or name == "execution_id" for name in names)


def test_whatever_is_on_a_queue_is_listed_by_it_and_nothing_else(plane: Api, kubiya: Commands) -> None:
    names = {"queues": "of-lists", "hooks": "on-it"}
    queue = {
        "jobs": {"executor_type": "specific_queue", "worker_queue_name": "of-lists"},
        "hooks": {"queue": "of-lists"},
    }
    made = {
        word: plane.call("POST", path, {"name": names.get(word, f"on it: {word}"), **fields, **queue.get(word, {})})[
            "id"
        ]
        for word, (path, fields) in sorted(MADE.items(), key=lambda item: item[0] != "queues")
    }
    elsewhere = {
        "jobs": plane.call("POST", "/jobs", {"name": "elsewhere", **JOB})["id"],
        "hooks": plane.call("POST", "/hooks", {"name": "elsewhere", **HOOK})["id"],
    }
    for found, at in ((made, "of-lists"), (elsewhere, "default")):
        found["workers"] = plane.call("POST", f"/worker-queues/{at}/start", {})["worker_id"]
        found["runs"] = plane.execute(worker_queue_id=at)
        asked = {"execution_id": found["runs"], "tool_name": "save_file"}
        found["approvals"] = plane.call("POST", "/approvals", asked)["id"]
        model = {"name": "elsewhere" if at == "default" else "on-it", "model": "x", "queues": [at]}
        found["models"] = plane.call("POST", "/stored-models", model)["id"]
        limited = {"name": at, "role": "viewer", "queues": [at]}
        found["keys"] = plane.call("POST", "/keys", limited)["id"]
    plane.call("POST", "/mcp-servers", {"name": "of nobody", "command": "x"})
    plane.call("PUT", "/secrets/OF_NOBODY", {"value": "a secret of nobody"})

    commands = {listed_at(words): one for words, one in all_commands().items() if listed_at(words)}
    assert set(completion.LISTS) <= set(commands)
    by_queue = set()
    for word, path in completion.LISTS.items():
        answer = plane.call("GET", path)
        rows = answer if isinstance(answer, list) else next(v for v in answer.values() if isinstance(v, list))
        assert rows, word
        by_queue |= {word} if any(with_queue(word, row) for row in rows) else set()
    assert {word for word, one in commands.items() if any("--queue" in each.opts for each in one.params)} == by_queue
    for word in by_queue:
        # A list shows as much of an id as a table has room for; -o json has all.
        for key in ("of-lists", made["queues"]):
            told = kubiya(word, "ls", "--queue", key, "-o", "json").out
            shown = "name" if word in ("jobs", "hooks", "models") else "id"
            mine, other = (made[word], elsewhere[word]) if shown == "id" else ("on", '"elsewhere"')
            assert mine in told and other not in told, word
        assert "no-such-queue" in kubiya(word, "ls", "--queue", "no-such-queue", code=EX_USAGE).err
    plane.call("DELETE", "/mcp-servers/of nobody")  # other tests count them
    for name in ("on-it", "elsewhere"):
        plane.call("DELETE", f"/stored-models/{name}")


def test_several_are_removed_or_none(plane: Api, kubiya: Commands) -> None:
    plane.agent(name="one-of-two")
    kubiya("agents", "rm", "one-of-two", "nothing-like-it", code=64)
    assert plane.call("GET", "/agents/one-of-two")


def test_keys_and_secrets_have_the_verbs_too(plane: Api, kubiya: Commands) -> None:
    plane.call("PUT", "/secrets/VERBS_TOKEN", {"value": "c4nary-value"})
    told = kubiya("secrets", "get", "VERBS").out + kubiya("secrets", "ls", "-o", "wide").out
    assert "VERBS_TOKEN" in told and "c4nary" not in told and "USED BY" in told
    made = plane.key("viewer", "Ada", email="ada@verbs.example")
    assert yaml.safe_load(kubiya("keys", "get", made["id"][:6]).out)["email"] == "ada@verbs.example"
    assert "PERSON" in kubiya("keys", "ls", "-o", "table").out
    assert "changed: " in kubiya("keys", "edit", made["id"][:6], "--group", "sre", "--expires-in-days", "3").out
    found = yaml.safe_load(kubiya("keys", "get", made["id"][:6]).out)
    assert found["groups"] == ["sre"] and found["expires_at"]
    kubiya("keys", "edit", made["id"], "--without", "end", "--without", "groups", "--name", "Ada L")
    found = yaml.safe_load(kubiya("keys", "get", made["id"][:6]).out)
    assert (found["name"], found["groups"], found["expires_at"]) == ("Ada L", [], None)
    assert "Nothing is to be changed" in kubiya("keys", "edit", made["id"], code=64).err
    assert "taken away" in kubiya("keys", "edit", made["id"], "--group", "a", "--without", "groups", code=64).err
    assert made["id"] in kubiya("keys", "rm", made["id"][:6]).out
    assert plane.ask("GET", "/agents", key=False, headers=made["headers"]).status_code == 401


def test_one_of_several_is_chosen_or_they_are_listed() -> None:
    rows = [{"id": f"abcd-{n}", "name": name} for n, name in enumerate(["disk", "disk-watcher", "disks", "Logs"])]
    assert choice.choose("agent", "disk", rows)["id"] == "abcd-0", "a whole name is preferred"
    assert choice.choose("agent", "logs", rows)["id"] == "abcd-3"
    assert choice.choose("agent", "disk-", rows)["id"] == "abcd-1"
    assert choice.choose("agent", "abcd-2", rows)["name"] == "disks"
    with pytest.raises(UsageError, match=r"4 agents begin with 'abcd'.*Logs, disk, disk-watcher, disks"):
        _told(lambda: choice.choose("agent", "abcd", rows))
    with pytest.raises(UsageError, match=r"There is no agent 'log'.*There are: Logs"):
        _told(lambda: choice.choose("agent", "log", rows))


def _told(call: Any) -> None:
    try:
        call()
    except UsageError as error:
        raise UsageError(error.line()) from error


def test_the_shell_completes_names_and_never_sees_an_error(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.agent(name="complete-me", description="for the shell")
    context, parameter = click.Context(cli), click.Argument(["x"])
    found = completion.names("agents")(context, parameter, "COMP")
    assert [(item.value, item.help) for item in found] == [("complete-me", "for the shell")]
    execution = plane.execute(prompt="of the shell")
    assert [item.value for item in completion.runs(context, parameter, execution[:9])] == [execution]
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_wrong")
    assert completion.names("agents", "teams")(context, parameter, "") == []
    monkeypatch.delenv("KUBIYA_API_KEY")
    assert completion.runs(context, parameter, "") == []


SHOWS = frozenset({"ls", "list", "get", "show", "status", "history", "deliveries"})
FORMS = {"table", "wide", "json", "yaml"}


def all_commands() -> dict[str, click.Command]:
    """Return each command by its words."""
    found: dict[str, click.Command] = {}

    def walk(command: click.Command, words: tuple[str, ...], context: click.Context) -> None:
        if not isinstance(command, click.Group):
            found[" ".join(words)] = command
            return
        for name in command.list_commands(context):
            one = command.get_command(context, name)
            if one is not None and not one.hidden:
                walk(one, (*words, name), click.Context(one, info_name=name, parent=context))

    walk(cli, (), click.Context(cli, info_name="kubiya"))
    return found


def forms(command: click.Command) -> set[str]:
    """Return what `-o` takes."""
    options = [each for each in command.params if isinstance(each, click.Option) and "-o" in each.opts]
    return {str(word) for each in options if isinstance(each.type, click.Choice) for word in each.type.choices}


def test_every_command_says_an_example_of_itself() -> None:
    found = all_commands()
    wrong = [
        words
        for words, one in found.items()
        if not any(f"kubiya {words}" in line.partition("Example:")[2] for line in str(one.help).splitlines())
    ]
    assert wrong == [] and len(found) > 100


def test_whatever_lists_or_shows_prints_a_table_json_and_yaml() -> None:
    shows = {words: forms(one) for words, one in all_commands().items() if words.split()[-1] in SHOWS}
    assert {words for words, known in shows.items() if not known >= FORMS} == set()
    assert len(shows) > 30


def test_every_noun_of_objects_has_its_verbs() -> None:
    words = set(all_commands())
    for noun in (*kinds.NOUNS, "secrets", "mcp"):
        assert {f"{noun} {verb}" for verb in ("ls", "get", "edit", "rm")} <= words, noun
    assert {"keys ls", "keys get", "keys edit", "keys rm", "models ls", "models get"} <= words


def test_a_document_of_json_is_one_document(plane: Api, kubiya: Commands) -> None:
    assert json.loads(kubiya("agents", "get", "ops", "-o", "json").out)["kind"] == "Agent"


def test_an_mcp_server_is_shown_with_who_has_it(plane: Api, kubiya: Commands) -> None:
    servers = {"tickets-of-a-test": {"url": "https://tickets.example/mcp"}}
    plane.agent(name="has-a-server", configuration={"mcp_servers": servers})
    told = yaml.safe_load(kubiya("mcp", "get", "tickets-of-a-test").out)
    assert (told["where"], told["owners"]) == ("https://tickets.example/mcp", ["has-a-server"])
    assert "There are: tickets-of-a-test" in kubiya("mcp", "get", "other", code=64).err


def test_a_stored_mcp_server_is_listed_edited_and_removed_once_nobody_names_it(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.call("POST", "/mcp-servers", {"name": "stored-wiki", "url": "https://old.example/mcp"})
    plane.agent(name="names-wiki", configuration={"mcp_servers": {"pages": {"ref": "stored-wiki"}}})
    rows = [json.loads(line) for line in kubiya("mcp", "ls", "-o", "json").out.splitlines()]
    (row,) = [row for row in rows if row["where"] == "https://old.example/mcp"]
    assert (row["server"], row["owners"], row["stored"]) == ("stored-wiki", ["names-wiki"], True)
    edited(monkeypatch, "old.example", "new.example")
    assert "new.example" in kubiya("mcp", "edit", "stored-wiki").out
    assert yaml.safe_load(kubiya("mcp", "get", "stored-wiki").out)["where"] == "https://new.example/mcp"
    assert "kubiya mcp edit stored-wiki" in kubiya("mcp", "edit", "pages", "--agent", "names-wiki", code=64).err
    assert "agent names-wiki" in kubiya("mcp", "rm", "stored-wiki", code=78).err
    kubiya("mcp", "rm", "pages", "--agent", "names-wiki")
    assert "mcpserver/stored-wiki  deleted" in kubiya("mcp", "rm", "stored-wiki").out
    plane.call("GET", "/mcp-servers/stored-wiki", status=404)


def test_an_mcp_server_is_edited_and_removed_in_all_that_have_it(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = {"url": "https://old.example/mcp"}
    for name, servers in {
        "edits-one": {"wiki": server},
        "edits-two": {"wiki": server, "kept": {"url": "https://kept.example/mcp"}},
        "edits-three": {"forks": server},
        "edits-four": {"forks": {"url": "https://another.example/mcp"}},
    }.items():
        plane.agent(name=name, configuration={"mcp_servers": servers})

    def servers_of(name: str) -> Any:
        spec = kubiya("agents", "get", name, "-o", "json").json["spec"]
        return (spec.get("configuration") or {}).get("mcp_servers") or {}

    edited(monkeypatch, "old.example", "new.example")
    kubiya("mcp", "edit", "wiki")
    assert servers_of("edits-one") == {"wiki": {"url": "https://new.example/mcp"}}
    assert servers_of("edits-two")["wiki"] == {"url": "https://new.example/mcp"}
    assert "different" in kubiya("mcp", "edit", "forks", code=64).err
    kubiya("mcp", "edit", "forks", "--agent", "edits-three")
    assert servers_of("edits-three") == {"forks": {"url": "https://new.example/mcp"}}
    assert servers_of("edits-four") == {"forks": {"url": "https://another.example/mcp"}}
    kubiya("mcp", "rm", "wiki")
    assert servers_of("edits-one") == {} and list(servers_of("edits-two")) == ["kept"]
    assert "There is no MCP server 'wiki'" in kubiya("mcp", "rm", "wiki", code=64).err
    edited(monkeypatch, "url: https://kept.example/mcp", "just a text")
    assert "holds no server" in kubiya("mcp", "edit", "kept", code=64).err
    edited(monkeypatch, "url:", "urll:")
    refused = kubiya("mcp", "edit", "kept", code=78)
    assert "urll" in refused.err and servers_of("edits-two") == {"kept": {"url": "https://kept.example/mcp"}}


def test_the_source_of_a_secret_is_edited_and_a_value_is_not(
    plane: Api, kubiya: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.call("PUT", "/secrets/HAS_A_VALUE", {"value": "nobody-reads-it"})
    told = kubiya("secrets", "edit", "HAS_A_VALUE", code=64)
    assert "kubiya secrets set HAS_A_VALUE" in told.err and "nobody-reads-it" not in told.err + told.out
