"""This module makes the parts of statements that SQLite and PostgreSQL spell differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, String, Table, TextClause, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

# PostgreSQL reads JSON as UTF-8 and refuses all of a text that has the escape of a NUL or of half a surrogate pair in
# any string. One such argument of a tool must not make every search fail, so these become blanks where it is searched.
_UNREADABLE: Final = r"\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})"


class JsonText(ColumnElement[str]):
    """The text at a path of JSON that a column holds; null where there is none."""

    inherit_cache = True
    type = String()
    _traverse_internals: Any = (
        ("column", InternalTraversal.dp_clauseelement),
        ("path", InternalTraversal.dp_string),
    )

    def __init__(self, column: ColumnElement[str], path: str) -> None:
        self.column, self.path = column, path


@compiles(JsonText, "sqlite")
def _for_sqlite(element: JsonText, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.column, **options)} ->> '$.{element.path}')"


@compiles(JsonText, "postgresql")
def _for_postgresql(element: JsonText, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    keys = element.path.replace(".", ",")
    return f"(regexp_replace({column}, '{_UNREADABLE}', '\\\\u0020', 'g')::json #>> '{{{keys}}}')"


def json_text(column: Any, path: str) -> JsonText:
    """Return the text at a path of plain names, such as `who.email`."""
    assert path.replace(".", "").replace("_", "").isalnum(), path
    return JsonText(column, path)


def add_once(table: Table, columns: Sequence[str] | None = None) -> TextClause:
    """Return an insert that leaves a row alone that is there already."""
    return text(f"{_insert(table, columns)} on conflict do nothing")


def put(table: Table, key: Sequence[str], columns: Sequence[str] | None = None) -> TextClause:
    """Return an insert that replaces the row with the same key."""
    names = list(columns or table.columns.keys())
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    return text(f"{_insert(table, columns)} on conflict ({', '.join(key)}) do update set {changed}")


def _insert(table: Table, columns: Sequence[str] | None) -> str:
    names = list(columns or table.columns.keys())
    values = ", ".join(f":{name}" for name in names)
    return f"insert into {table.name} ({', '.join(names)}) values ({values})"  # noqa: S608 - names of the schema
