"""`kubiya agents|skills|teams|queues|rules|environments`: ls, get, edit, rm, the same for each kind of definition.

`kubiya jobs` has these commands too, beside its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from kubiya_worker.cli import apply as changes
from kubiya_worker.cli import choice, completion, reason, tables
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.moments import age, clock
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.control_plane.errors import Refused
from kubiya_worker.errors import UsageError

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
AGE: Final = Cells("AGE", lambda row: age(row.get("created_at")))
ON_QUEUE: Final = click.Option(
    ["--queue"], shell_complete=completion.names("queues"), help="Only those that run on this queue."
)
ABOUT: Final = field("description", most=50)
MORE: Final = (
    Cells("CHANGED", lambda row: clock(row.get("updated_at")), wide=True),
    field("id", most=40, wide=True),
)


def _channel(row: Mapping[str, Any]) -> str:
    return str((row.get("channel") or {}).get("type") or "")


def _delivered(state: str) -> Callable[[Mapping[str, Any]], int]:
    return lambda row: int((row.get("deliveries") or {}).get(state) or 0)


def _skills(row: Mapping[str, Any]) -> list[str]:
    return [str(skill.get("name") or skill.get("type")) for skill in row.get("skills") or ()]


def _users(row: Mapping[str, Any]) -> list[str]:
    return [str(each.get("name")) for each in row.get("used_by") or ()]


def _enabled(row: Mapping[str, Any]) -> str:
    return "no" if row.get("enabled") is False else "yes"


@dataclass(frozen=True)
class Noun:
    """A kind of definition: its word on the command line, where it is listed, and what a table shows of it."""

    word: str  # the plural
    columns: tuple[Cells, ...]
    example: str
    queue: str = ""  # the field with the queue, of what runs on one

    @property
    def one(self) -> str:
        return self.word.removesuffix("s")

    def rows(self, api: Api) -> list[dict[str, Any]]:
        """Return the objects as the control plane lists them."""
        answer = api.ask("GET", completion.LISTS[self.word])
        rows = answer if isinstance(answer, list) else next((v for v in answer.values() if isinstance(v, list)), [])
        return [row for row in rows if isinstance(row, dict)]

    def of_queue(self, api: Api, queue: str) -> list[dict[str, Any]]:
        """Return the objects that run on a queue. Raises UsageError, which lists the queues."""
        chosen = QueuesApi(api).find(queue)
        return [row for row in self.rows(api) if row.get(self.queue) in (chosen["id"], chosen["name"])]

    def name(self, api: Api, key: str) -> str:
        """Return the name for an id, a name, or the beginning of one of them. Raises UsageError."""
        return str(choice.choose(self.one, key, self.rows(api))["name"])


NOUNS: Final = {
    noun.word: noun
    for noun in (
        Noun(
            "agents",
            (
                *(field("name"), field("model_id", "MODEL", 30), Cells("SKILLS", _skills, 30), AGE, *MORE),
                ABOUT,
            ),
            "ops",
        ),
        Noun(
            "skills",
            (
                *(field("name"), field("type"), Cells("USED BY", _users, 40), Cells("ON", _enabled)),
                *(AGE, *MORE, ABOUT),
            ),
            "disks",
        ),
        Noun("teams", (field("name"), Cells("SKILLS", _skills, 30), AGE, *MORE, ABOUT), "triage"),
        Noun(
            "queues",
            (
                *(field("name"), field("status"), field("active_workers", "WORKERS"), AGE, *MORE),
                ABOUT,
            ),
            "default",
        ),
        Noun(
            "rules",
            (
                *(field("name"), field("action"), field("scope_type", "SCOPE"), field("scope_value", "OF", 30)),
                *(field("priority"), AGE, *MORE, ABOUT),
            ),
            "'ask before files change'",
        ),
        Noun("environments", (field("name"), field("status"), AGE, *MORE, ABOUT), "default"),
        Noun(
            "jobs",
            (
                *(field("name"), field("trigger_type", "TRIGGER"), field("cron_schedule", "SCHEDULE", 24)),
                *(field("entity_name", "AGENT", 24), field("status"), AGE, *MORE),
            ),
            "'disks every morning'",
            queue="worker_queue_name",
        ),
        Noun(
            "notifications",
            (
                *(field("name"), Cells("CHANNEL", _channel), field("events", most=50)),
                *(Cells("WAITING", _delivered("waiting")), Cells("DEAD", _delivered("dead")), AGE, *MORE, ABOUT),
            ),
            "on-call",
        ),
        Noun(
            "hooks",
            (
                *(field("name"), field("source"), Cells("AGENT", lambda row: row.get("agent") or row.get("team"), 24)),
                *(field("last_verdict", "LAST"), Cells("AGO", lambda row: age(row.get("last_delivery_at")))),
                *(field("url", most=60, wide=True), AGE, *MORE, ABOUT),
            ),
            "alertmanager",
            queue="queue",
        ),
    )
}


def commands_of(noun: Noun) -> dict[str, click.Command]:
    """Return the commands of a kind, by their names."""
    name = click.argument("name", shell_complete=completion.names(noun.word))

    @click.command(context_settings=SETTINGS, help=_help(noun, f"List the {noun.word}.", "ls -o wide"))
    @tables.output()
    def ls(output: str, queue: str | None = None) -> None:
        api = connect()
        rows = noun.of_queue(api, queue) if queue else None
        if output in (tables.JSON, tables.YAML):
            kept = {row["name"] for row in rows} if rows is not None else None
            definitions = DefinitionsApi(api).all(noun.word)
            _print([each for each in definitions if kept is None or each["name"] in kept], output)
        else:
            rows = noun.rows(api) if rows is None else rows
            tables.show(rows, noun.columns, output, none=f"There are no {noun.word}.")

    if noun.queue:
        ls.params.append(ON_QUEUE)

    @click.command(
        context_settings=SETTINGS,
        help=_help(noun, f"Show the definition of one of the {noun.word}, as `kubiya apply` takes it.", "get NAME"),
    )
    @name
    @tables.output(default=tables.YAML)
    def get(name: str, output: str) -> None:
        api = connect()
        if output in (tables.JSON, tables.YAML):
            show_document(DefinitionsApi(api).get(noun.word, noun.name(api, name)), output)
        else:
            tables.show([choice.choose(noun.one, name, noun.rows(api))], noun.columns, output)

    @click.command(
        context_settings=SETTINGS,
        help=_help(
            noun,
            f"Change one of the {noun.word} in $EDITOR, and apply it. What somebody else changed meanwhile is not "
            "overwritten.",
            "edit NAME",
        ),
    )
    @name
    @reason.option()
    def edit(name: str) -> None:
        api = connect()
        edit_document(api, DefinitionsApi(api).get(noun.word, noun.name(api, name)))

    @click.command(
        context_settings=SETTINGS,
        help=_help(noun, f"Remove {noun.word}. `kubiya rollback` brings them back.", "rm NAME"),
    )
    @click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completion.names(noun.word))
    @click.option("--force", is_flag=True, help="End or disable whoever needs it, and say so of each.")
    @reason.option()
    def rm(names: tuple[str, ...], force: bool) -> None:
        api = connect()
        for each in [noun.name(api, key) for key in names]:  # all are looked up before the first one goes
            removed(DefinitionsApi(api).delete(noun.word, each, force=force))

    return {"ls": ls, "get": get, "edit": edit, "rm": rm}


def _help(noun: Noun, text: str, example: str) -> str:
    return f"{text}\n\nExample: kubiya {noun.word} {example.replace('NAME', noun.example)}"


def removed(change: Mapping[str, Any]) -> None:
    """Say what was deleted, and what was ended with it."""
    for ended in change.get("ended") or []:
        print(f"{ended.get('kind')}/{one_line(str(ended.get('name') or ended.get('id')), 80)}  {ended.get('now')}")
    print(f"{str(change.get('kind')).lower()}/{one_line(str(change.get('name')), 60)}  deleted")


def _print(documents: list[dict[str, Any]], output: str) -> None:
    from kubiya_worker import definition_text  # imports a parser of YAML, which other commands do not need

    if output == tables.JSON:
        tables.dump(documents, output)
    else:
        print(definition_text.dump(documents), end="")


def show_document(document: dict[str, Any], output: str) -> None:
    """Print one document as JSON, or as YAML that can be edited and applied."""
    tables.dump(document, output) if output == tables.JSON else _print([document], output)


def edit_document(api: Api, document: dict[str, Any]) -> None:
    """Let a person edit a document, and apply it if nobody has changed it meanwhile.

    Raises UsageError, after the text was kept in a file, so that no work is lost.
    """
    from kubiya_worker import definition_text
    from kubiya_worker.cli import definition_files

    before = definition_text.dump([document])
    text = edited(before)
    if text is None or text.strip() == before.strip():
        raise UsageError("Nothing was changed", remedy="Save the file in the editor to apply it")
    with definition_files.kept(text) as file:
        documents = definition_files.load([file])
        if len(documents) != 1 or any(documents[0].body[key] != document[key] for key in ("kind", "name")):
            raise UsageError(
                f"The text is not the {document['kind']} {document['name']!r} any more; it is kept in {file}",
                remedy=f"To make another one: kubiya apply -f {file}",
            )
        sent = {**documents[0].body, "base": document.get("spec") or {}}
        try:
            changes.show(DefinitionsApi(api).apply([sent], source=changes.SOURCE))
        except Refused as error:
            faults = definition_files.explain(error.problems, documents)
            raise (faults if faults is not None else error) from error


def edited(text: str) -> str | None:
    """Return what a person made of a text in $EDITOR; None when it was not saved. Raises UsageError."""
    try:
        return click.edit(text, extension=".yaml")
    except (click.ClickException, OSError) as error:
        reason = error.format_message() if isinstance(error, click.ClickException) else str(error)
        raise UsageError(f"The editor failed: {reason}", remedy="Set EDITOR to an editor that is installed") from error


def _group(noun: Noun) -> click.Group:
    help_text = f"List, show, edit and remove {noun.word}. A name may be given by its beginning, or by the id."
    return click.Group(noun.word, commands=commands_of(noun), context_settings=SETTINGS, help=help_text)


agents: Final = _group(NOUNS["agents"])
skills: Final = _group(NOUNS["skills"])
teams: Final = _group(NOUNS["teams"])
queues: Final = _group(NOUNS["queues"])
rules: Final = _group(NOUNS["rules"])
environments: Final = _group(NOUNS["environments"])
