"""This module prints objects in the forms that all lists have: a table, a wide table, JSON or YAML."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from kubiya_worker.cli.terminal import Paint, columns_of, one_line

TEXT: Final = "text"  # lines for a person, where a table would not do
TABLE: Final = "table"
WIDE: Final = "wide"
JSON: Final = "json"
YAML: Final = "yaml"
FORMATS: Final = (TABLE, WIDE, JSON, YAML)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cells:
    """A column of a table: its head, its text for a row, and whether only a wide table has it."""

    head: str
    text: Callable[[Row], Any]
    most: int = 40  # columns on the screen; a wide table has four times as many
    wide: bool = False


def field(name: str, head: str = "", most: int = 40, *, wide: bool = False) -> Cells:
    """Return the column of a field of the rows."""
    return Cells(head or name.upper().replace("_", " "), lambda row: row.get(name), most, wide)


def output(*formats: str, default: str = TABLE) -> Callable[[Any], Any]:
    """Add `-o` with the forms that a command prints: all of a table's, and `text` where that is the default."""
    known = formats or ((TEXT, *FORMATS) if default == TEXT else FORMATS)
    return click.option(
        "-o", "--output", type=click.Choice(known), default=default, show_default=True, help="Output format."
    )


def show(rows: Sequence[Row], columns: Sequence[Cells], form: str, *, none: str = "There are none.") -> None:
    """Print rows in a form: as a table, or whole as JSON or YAML."""
    if form in (JSON, YAML):
        dump(list(rows), form)
    elif not rows:
        print(none, file=sys.stderr)
    else:
        print(table(rows, columns, wide=form == WIDE, paint=Paint.for_stream(sys.stdout)))


def show_lines(
    rows: Sequence[Row], columns: Sequence[Cells], below: Callable[[Row], Sequence[str]], *, none: str
) -> None:
    """Print rows for a person: a table whose rows have lines below them, for what a column is too narrow for."""
    if not rows:
        print(none, file=sys.stderr)
        return
    paint = Paint.for_stream(sys.stdout)
    head, *lines = table(rows, columns, wide=False, paint=paint).split("\n")
    print(head)
    for row, line in zip(rows, lines, strict=True):
        print(paint.bold(line))
        for text in below(row):
            print(f"    {text}")


def show_one(row: Row, columns: Sequence[Cells], form: str) -> None:
    """Print one object in a form: as a table of one row, or whole as JSON or YAML."""
    if form in (JSON, YAML):
        dump(row, form)
    else:
        show([row], columns, form)


def dump(value: Any, form: str) -> None:
    """Print a value as JSON on one line, or as YAML."""
    if form == JSON:
        print(json.dumps(value, ensure_ascii=False))
        return
    import yaml  # costs 20 ms, which other commands do not need

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    print(text, end="")


def table(rows: Sequence[Row], columns: Sequence[Cells], *, wide: bool, paint: Paint) -> str:
    """Return the lines of a table with its heads; the last column is not filled up."""
    shown = [column for column in columns if wide or not column.wide]
    most = [column.most * (4 if wide else 1) for column in shown]
    cells = [
        [one_line(_text(column.text(row)), width) for column, width in zip(shown, most, strict=True)] for row in rows
    ]
    lines = [[column.head for column in shown], *cells]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    texts = ["  ".join(map(_filled, line, widths)).rstrip() for line in lines]
    return "\n".join([paint.dim(texts[0]), *texts[1:]])


def _text(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _width(text: str) -> int:
    return sum(map(columns_of, text))


def _filled(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
