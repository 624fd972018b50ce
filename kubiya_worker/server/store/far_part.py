"""This module reads the part of a list that begins far from the list's first row.

A database counts each row that is skipped. Where the list's end is nearer, the part is read backwards from there: the
number of all rows is counted first, which costs less for each row, as neither order nor place is wanted of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func

from kubiya_worker.server.store.statement import Reader

FAR: Final = 10_000  # rows: fewer are skipped in less time than it takes to ask how many there are
# Of all rows. PostgreSQL skips a row of an index in 80 ns and counts one in 50 (docs/benchmarks.md), so that counting
# all and skipping the rest backwards is sooner done than skipping more than this share.
SHARE: Final = 0.8


def is_nearer_from_the_end(skip: int, expected: int | None) -> bool:
    """Return whether the end is nearer, if `expected` is the number of all rows (None: unknown). Pure."""
    return expected is not None and skip > SHARE * expected


def read_part(
    reader: Reader, statement: Select[Any], order: Sequence[ColumnElement[Any]], oldest: bool, skip: int, limit: int
) -> list[Any]:
    """Return at most `limit` rows behind the first `skip` ones of what `statement`, which has no order, finds.

    They are ordered by `order`, which no two rows share; `oldest`: ascending.
    """
    rest = _rows_behind(reader, statement, skip)
    if rest is None or rest >= skip:
        return list(reader.execute(_ordered(statement, order, oldest).limit(limit).offset(skip)))
    backwards = _ordered(statement, order, not oldest)
    part = backwards.limit(max(0, min(limit, rest))).offset(max(0, rest - limit))
    return list(reader.execute(part))[::-1]


def _ordered(statement: Select[Any], order: Sequence[ColumnElement[Any]], ascending: bool) -> Select[Any]:
    return statement.order_by(*(column.asc() if ascending else column.desc() for column in order))


def _rows_behind(reader: Reader, statement: Select[Any], skip: int) -> int | None:
    """Return how many rows are behind the first `skip` ones, negative for fewer; None where it costs too much to know.

    The statistics that say so may be old; the number returned is counted.
    """
    if skip <= FAR or not is_nearer_from_the_end(skip, reader.expects(statement)):
        return None
    return int(reader.execute(statement.with_only_columns(func.count())).scalar()) - skip
