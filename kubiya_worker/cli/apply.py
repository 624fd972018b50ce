"""`kubiya apply` and `kubiya diff`: make agents, teams, rules, queues and jobs as files say, or show what would change.

Exit codes:

      0  apply: all hold; diff: nothing would change
      1  diff: something would change
     64  the command line is wrong, or a file cannot be read
     69  the control plane cannot be reached
     77  the API key is missing, wrong, or lacks the permission
     78  a document is wrong; nothing was changed
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from kubiya_worker.cli import completion, reason
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.connection import connect
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.control_plane.errors import Refused

Command = TypeVar("Command", bound=Callable[..., Any])
ACTIONS: Final = ("created", "changed", "deleted", "unchanged")
SOURCE: Final = "default"  # the set of files that is meant where no other is named
SHOWN: Final = 300  # characters of a value

files: Final = click.option(
    "-f",
    "--file",
    "names",
    multiple=True,
    required=True,
    metavar="PATH",
    shell_complete=completion.files,
    help="A file, a folder of files, or - for standard input. May be repeated.",
)
source: Final = click.option(
    "--source", default=SOURCE, show_default=True, help="Name of this set of files, for --prune."
)
prune: Final = click.option(
    "--prune", is_flag=True, help="Delete what this set has made before and does not name any more."
)
output: Final = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@files
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@prune
@source
@output
@reason.option()
def apply(names: tuple[str, ...], dry_run: bool, prune: bool, source: str, output: str) -> None:
    """Make agents, teams, skills, MCP servers, rules, queues, jobs and all other kinds as the files say, or none.

    Example: kubiya apply -f ops.yaml
    """
    changes = _applied(names, source=source, prune=prune, dry_run=dry_run)
    if output == "json":
        print(json.dumps({"changes": changes, "dry_run": dry_run}, ensure_ascii=False))
        return
    show(changes)
    print(_summary(changes, dry_run), file=sys.stderr)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@files
@prune
@source
@output
def diff(names: tuple[str, ...], prune: bool, source: str, output: str) -> int:
    """Show what `kubiya apply` would change. The exit code is 1 when something would.

    Example: kubiya diff -f ops.yaml
    """
    changes = [each for each in _applied(names, source=source, prune=prune, dry_run=True) if differs(each)]
    if output == "json":
        print(json.dumps({"changes": changes}, ensure_ascii=False))
    else:
        show(changes)
        if not changes:
            print("Nothing would change.", file=sys.stderr)
    return 1 if changes else 0


def _applied(names: Sequence[str], *, source: str, prune: bool, dry_run: bool) -> list[dict[str, Any]]:
    """Send the documents of the files; return the changes. Raises Faults with the file and line of each fault."""
    # They import a parser of YAML, which other commands do not need.
    from kubiya_worker.cli import definition_files, secret_places, skill_folders, skill_type_notes
    from kubiya_worker.tools import toolset

    documents = skill_folders.filled(secret_places.filled(definition_files.load(names), os.environ))
    try:
        changes = DefinitionsApi(connect()).apply(
            [each.body for each in documents], source=source, prune=prune, dry_run=dry_run
        )
    except Refused as error:
        faults = definition_files.explain(error.problems, documents)
        if faults is not None:
            raise faults from error
        raise
    for note in skill_type_notes.notes(documents, toolset.keys()):
        print(f"kubiya: {one_line(note, 300)}", file=sys.stderr)
    return changes


def differs(change: dict[str, Any]) -> bool:
    return bool(change.get("action") != "unchanged")


def show(changes: Sequence[dict[str, Any]]) -> None:
    """Print each change with what differs, and a new webhook's address and secret."""
    paint = Paint.for_stream(sys.stdout)
    for change in changes:
        name = f"{str(change.get('kind')).lower()}/{one_line(str(change.get('name')), 60)}"
        print(f"{paint.bold(name)}  {change.get('action')}")
        if change.get("action") == "changed":
            for each in change.get("differences") or ():
                print(f"    {one_line(difference(each), 2 * SHOWN + 100)}")
        if change.get("webhook_url"):
            print(f"    webhook: {one_line(str(change['webhook_url']), 300)}")
        if change.get("webhook_secret"):
            print(f"    secret:  {one_line(str(change['webhook_secret']), 300)}  (it is not shown again)")


def difference(each: dict[str, Any]) -> str:
    """Return one difference in words: `spec.model_id: "a" -> "b"`."""
    sides = [json.dumps(each[side], ensure_ascii=False)[:SHOWN] if side in each else "" for side in ("before", "after")]
    if not sides[0]:
        return f"{each['path']}: + {sides[1]}"
    if not sides[1]:
        return f"{each['path']}: - {sides[0]}"
    return f"{each['path']}: {sides[0]} -> {sides[1]}"


def _summary(changes: Sequence[dict[str, Any]], dry_run: bool) -> str:
    counts = Counter(str(change.get("action")) for change in changes)
    tally = ", ".join(f"{counts[action]} {action}" for action in ACTIONS if counts[action])
    return f"{tally or 'nothing to do'}{'; dry run, so nothing was changed' if dry_run else ''}"
