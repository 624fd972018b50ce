"""`kubiya get`, `export`, `delete`, `history` and `rollback`: the definitions that the control plane stores."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from kubiya_worker.cli import apply as changes
from kubiya_worker.cli import choice, completion, kinds, reason, tables
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.moments import age
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.control_plane.errors import Refused

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
KINDS: Final = (
    *(
        "secrets",
        "skills",
        "mcp-servers",
        "environments",
        "queues",
        "models",
        "agents",
        "teams",
        "rules",
        "jobs",
        "notifications",
        "hooks",
    ),
)
_DETAILS: Final = {
    "Secret": ("source",),  # what a table shows of a definition, by kind: the first fields that it has
    "Skill": ("type", "description"),
    "MCPServer": ("description", "url", "command"),
    "Model": ("description", "model", "api_base"),
    "Agent": ("description", "model_id"),
    "Team": ("description",),
    "Rule": ("action", "scope_type", "scope_value"),
    "Queue": ("environment", "description"),
    "Environment": ("description",),
    "Job": ("agent", "team", "trigger_type", "cron_schedule"),
    "Notification": ("description",),
    "Hook": ("source", "agent", "team"),
}

VERSIONS: Final = (
    *(field("version"), field("action"), Cells("BY", lambda row: _who(row)), field("at", "TIME", 20)),
    Cells("CHANGED", lambda row: [changes.difference(each) for each in row.get("differences") or ()], 80),
)
kind_of: Final = click.argument("kind", shell_complete=completion.words(*KINDS))
output: Final = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "yaml", "json"]),
    default="table",
    show_default=True,
    help="Output format; yaml can be edited and applied.",
)


@click.command(context_settings=SETTINGS)
@kind_of
@click.argument("name", required=False)
@output
def get(kind: str, name: str | None, output: str) -> None:
    """Show definitions. KIND is agents, teams, skills, mcp-servers, models, rules, queues, environments, jobs,
    notifications, hooks or secrets; NAME may be its beginning.

    Example: kubiya get agent ops -o yaml
    """
    api = connect()
    definitions = DefinitionsApi(api)
    documents = definitions.all(kind) if name is None else [definitions.get(kind, _name(api, kind, name))]
    if output in (tables.TABLE, tables.WIDE):
        _table(documents, 400 if output == tables.WIDE else 100)
    else:
        _print(documents, output)


@click.command(context_settings=SETTINGS)
@click.argument("kinds", nargs=-1, shell_complete=completion.words(*KINDS))
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def export(kinds: tuple[str, ...], output: str) -> None:
    """Print all definitions, or those of some KINDS, as documents for `kubiya apply`.

    Example: kubiya export > everything.yaml
    """
    definitions = DefinitionsApi(connect())
    _print([each for kind in kinds or ("",) for each in definitions.all(kind)], output)


@click.command(context_settings=SETTINGS)
@kind_of
@click.argument("name")
@click.option("--force", is_flag=True, help="End or disable whatever needs it, and say so of each.")
@reason.option()
def delete(kind: str, name: str, force: bool) -> None:
    """Delete an object. Its versions are kept: `kubiya rollback` brings it back.

    One that others need (open executions, jobs, teams, workers) is refused with their list.

    Example: kubiya delete agent ops
    """
    api = connect()
    change = DefinitionsApi(api).delete(kind, _name(api, kind, name), force=force)
    kinds.removed(change)


@click.command(context_settings=SETTINGS)
@kind_of
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each version.")
@tables.output(default=tables.TEXT)
def history(kind: str, name: str, as_json: bool, output: str) -> None:
    """List the versions of a definition, newest first: who made each, when, and what differs from the one before.

    Example: kubiya history agent ops
    """
    _, versions = _versions(connect(), kind, name)
    if as_json:
        for version in versions:
            print(json.dumps(version, ensure_ascii=False))
        return
    if output != tables.TEXT:
        tables.show(versions, VERSIONS, output)
        return
    paint = Paint.for_stream(sys.stdout)
    for version in versions:
        who = one_line(_who(version), 60)
        number = version.get("version") or "-"
        print(
            f"{paint.bold(str(number))}  {version.get('action')}  {who}  {paint.dim(age(version.get('at')) + ' ago')}"
        )
        for each in version.get("differences") or ():
            print(f"    {one_line(changes.difference(each), 300)}")


@click.command(context_settings=SETTINGS)
@kind_of
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@reason.option()
def rollback(kind: str, name: str, version: int) -> None:
    """Make a definition as it was in VERSION, a number of `kubiya history`.

    Example: kubiya rollback agent ops 3
    """
    api = connect()
    whole, _ = _versions(api, kind, name)
    changes.show([DefinitionsApi(api).roll_back(kind, whole, version)])


def _who(version: Mapping[str, Any]) -> str:
    by = version.get("by") or {}
    return str(by.get("name") or by.get("email") or "not by a file")


def _name(api: Api, kind: str, name: str) -> str:
    """Return the whole name for a name, or for its beginning when that means one. Raises UsageError."""
    rows = [{"name": each["name"]} for each in DefinitionsApi(api).all(kind)]
    return str(choice.choose(kind.removesuffix("s"), name, rows, fields=("name",))["name"])


def _versions(api: Api, kind: str, name: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the whole name and its versions. One that was deleted is named in full. Raises UsageError."""
    if name.strip():
        try:
            return name, DefinitionsApi(api).history(kind, name)
        except Refused as error:
            if error.status != 404:
                raise
    whole = _name(api, kind, name)
    return whole, DefinitionsApi(api).history(kind, whole)


def _print(documents: Sequence[dict[str, Any]], output: str) -> None:
    from kubiya_worker import definition_text  # imports a parser of YAML, which other commands do not need

    if output == "json":
        for document in documents:
            print(json.dumps(document, ensure_ascii=False))
    else:
        print(definition_text.dump(documents), end="")


def _table(documents: Sequence[dict[str, Any]], most: int) -> None:
    if not documents:
        print("There are none.", file=sys.stderr)
        return
    paint = Paint.for_stream(sys.stdout)
    width = min(40, max(len(str(each["name"])) for each in documents))
    print(paint.dim(f"{'NAME':<{width}}  DETAILS"))
    for each in documents:
        fields = (str(each["spec"].get(name) or "") for name in _DETAILS.get(str(each["kind"]), ()))
        details = one_line("  ".join(filter(None, fields)), most)
        name = f"{one_line(str(each['name']), 60):<{width}}"
        print(f"{paint.bold(name)}  {details}".rstrip())
