"""`kubiya audit`: show, keep and check the records of what was decided and changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import click

from kubiya_worker.cli import tables
from kubiya_worker.cli.api.audit import AuditApi
from kubiya_worker.cli.connection import connect
from kubiya_worker.cli.grouped_options import grouped
from kubiya_worker.cli.moments import moment
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import UsageError
from kubiya_worker.protocol import audit as chain

MOST_TOLD: Final = 20  # problems that are printed one by one
COLUMNS: Final = (
    *(field("seq", "NUMBER"), field("at", "TIME", 20), Cells("WHO", lambda row: _who(row)), field("action")),
    Cells("OBJECT", lambda row: (row.get("object") or {}).get("name") or (row.get("object") or {}).get("id"), 60),
    *(field("outcome"), Cells("FROM", lambda row: (row.get("from") or {}).get("address"), wide=True)),
    field("detail", most=60, wide=True),
)
LONGEST: Final = 160  # characters of what changed, in a list


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def audit() -> None:
    """Show and check the records of every decision and change: who, from where, when, what, before and after."""


@dataclass(frozen=True)
class RecordFilters:
    """The options that say which records are wanted, as they are typed."""

    since: str | None
    until: str | None
    person: str
    action: str
    about: str
    refused: bool

    def fields(self, now: datetime) -> dict[str, str]:
        """Return the filters of the request. Raises UsageError for a time that is none."""
        times = {"since": self.since, "until": self.until}
        return {
            **{name: moment(text, now) for name, text in times.items() if text},
            "person": self.person,
            "action": self.action,
            "object": self.about,
            "outcome": "refused" if self.refused else "",
        }


record_filters: Final = grouped(
    "filters",
    RecordFilters,
    click.option("--since", metavar="TIME", help="From a time on: 30m, 2h, 7d, or 2026-11-28T12:00."),
    click.option("--until", metavar="TIME", help="Up to a time."),
    click.option("--person", default="", help="By a person: id, name, e-mail or key id."),
    click.option("--action", default="", help="Of an action, such as approval.approve, approval or delete."),
    click.option("--object", "about", default="", help="About an object: its kind, id or name."),
    click.option("--refused", is_flag=True, help="Only what was refused."),
)


@audit.command()
@record_filters
@click.option("-n", "--lines", default=50, type=click.IntRange(1, 1000), show_default=True, help="How many, at most.")
@tables.output(default=tables.TEXT)
def ls(filters: RecordFilters, lines: int, output: str) -> None:
    """List the newest records, the newest last.

    Example: kubiya audit ls --since 2h --action approval
    """
    records = AuditApi(connect()).newest(filters.fields(datetime.now(UTC)), lines)
    if output == "json":
        for record in reversed(records):
            print(chain.line_of(record))
        return
    if output != tables.TEXT:
        tables.show(records[::-1], COLUMNS, output, none="No record fits.")
        return
    tables.show_lines(records[::-1], LIST, lambda _: (), none="No record fits.")


def _from(record: Mapping[str, Any]) -> str:
    address = (record.get("from") or {}).get("address")
    return f"{one_line(_who(record), 40)}{f' from {address}' if address else ''}"


def _deed(record: Mapping[str, Any]) -> str:
    """Return what was done to what, why, and the fields that changed, in one line."""
    subject = record.get("object") or {}
    about = one_line(str(subject.get("name") or subject.get("id") or ""), 60)
    refused = f"  refused: {record.get('detail')}" if record.get("outcome") == "refused" else ""
    why = f"  because: {record['reason']}" if record.get("reason") else ""
    return f"{record.get('action')} {about}{one_line(refused, LONGEST)}{one_line(why, LONGEST)}{_fields(record)}"


LIST: Final = (
    *(field("seq", "NUMBER"), Cells("TIME", lambda row: f"{str(row.get('at'))[:19]}Z"), Cells("WHO", _from, 90)),
    Cells("WHAT", _deed, 4 * LONGEST),
)


def _who(record: Mapping[str, Any]) -> str:
    who = record.get("who") or {}
    return str(who.get("name") or who.get("email") or who.get("key") or "nobody")


def _fields(record: Mapping[str, Any]) -> str:
    before, after = record.get("before") or {}, record.get("after") or {}
    if not before:
        return ""
    words = [f"{name}: {json.dumps(before.get(name))} > {json.dumps(value)}" for name, value in after.items()]
    return f"  {one_line(', '.join(words), LONGEST)}" if words else ""


@audit.command()
@click.option("--after", default=0, type=click.IntRange(0), help="Only records after this number.")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), help="Into a file.  [default: standard output]")
def export(after: int, path: Path | None) -> None:
    """Export all records as JSON lines, in their order, as `verify --file` reads them.

    Example: kubiya audit export --file audit.jsonl
    """
    audit_api = AuditApi(connect())
    begin = _head(audit_api.begin())
    lines, count = audit_api.lines(after), 0
    with path.open("w", encoding="utf-8") if path else nullcontext(sys.stdout) as file:
        for line in lines:
            print(line, file=file)
            count += 1
    print(f"{count} records", file=sys.stderr)
    if begin.seq > after:
        print(f"Records up to {begin.seq} were removed (--keep-audit)", file=sys.stderr)


@audit.command()
def head() -> None:
    """Print NUMBER:HASH of the last record. Keep it where the control plane's host cannot write.

    `verify --head` shows later that all records up to it are still the same.

    Example: kubiya audit head
    """
    print(AuditApi(connect()).head())


@audit.command()
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An exported file, without the control plane.",
)
@click.option("--head", "heads", multiple=True, metavar="NUMBER:HASH", help="A head that was kept. Several are taken.")
@click.option("--after", "start", metavar="NUMBER:HASH", help="The head before the first record of a partial export.")
def verify(path: Path | None, heads: tuple[str, ...], start: str | None) -> int:
    """Check that no record was changed, removed, moved or inserted. The exit code is 1 if one was.

    Without --head, records that were removed at the end of a file, or all written anew, cannot be noticed.

    Example: kubiya audit verify --file audit.jsonl
    """
    try:
        kept = [chain.Head.parse(text) for text in heads]
        after = chain.Head.parse(start) if start else chain.EMPTY
    except ValueError as error:
        raise UsageError(str(error), remedy="Check --head and --after") from error
    if path is not None:
        with path.open(encoding="utf-8", errors="replace") as file:
            cut = chain.cut_of(_lines(file))
        with path.open(encoding="utf-8", errors="replace") as file:
            return _print_problems(_lines(file), kept, after, cut)
    audit_api = AuditApi(connect())
    kept.append(chain.Head.parse(audit_api.head()))
    return _print_problems(audit_api.lines(after.seq), kept, after, _head(audit_api.begin()))


def _lines(file: TextIO) -> Iterator[str]:
    return (line for line in file if line.strip())


def _head(text: str) -> chain.Head:
    return chain.Head.parse(text) if text else chain.EMPTY


def _print_problems(lines: Iterator[str], heads: list[chain.Head], after: chain.Head, cut: chain.Head) -> int:
    """Print each problem, or how many records hold; return the exit code."""
    counted = _Counted(lines)
    faults = 0
    for problem in chain.problems(counted, heads, after, cut):
        faults += 1
        if faults <= MOST_TOLD:
            print(problem.text)
    for head in heads:
        if head.seq < cut.seq:
            print(f"Record {head.seq} was removed (--keep-audit): its head proves nothing any more", file=sys.stderr)
    if faults > MOST_TOLD:
        print(f"… and {faults - MOST_TOLD} problems more")
    if faults:
        print(f"The chain is broken: {faults} problems in {counted.count} records", file=sys.stderr)
        return 1
    print(f"{counted.count} records: none was changed, removed, moved or inserted")
    if not heads:
        print("Only a head that was kept elsewhere shows a cut end: verify --head", file=sys.stderr)
    return 0


class _Counted:
    """Count lines while they are read, so that a long file is never held in memory."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.count = lines, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.count += 1
            yield line
