"""This module finds the one object that a person means by an id, a name, or the beginning of one of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import UsageError

FEWEST: Final = 4  # characters of a beginning that may stand for the whole
MOST_LISTED: Final = 20
LONGEST_SHOWN: Final = 60  # characters


def choose(
    what: str, key: str, rows: Sequence[Mapping[str, Any]], *, fields: Sequence[str] = ("id", "name")
) -> dict[str, Any]:
    """Return the row that `key` names. Raises UsageError, which lists what fits, or else what there is.

    A whole id or name is preferred; then a name in other letters; then the beginning of exactly one of them.
    """
    for field in fields:
        for row in rows:
            if str(row.get(field)) == key:
                return dict(row)
    matches = [row for row in rows if key and str(row.get(fields[-1])).lower() == key.lower()]
    if not matches and len(key) >= FEWEST:
        begun = key.lower()
        matches = [row for row in rows if any(str(row.get(field) or "").lower().startswith(begun) for field in fields)]
    if len(matches) == 1:
        return dict(matches[0])
    listed = listing(matches or rows, fields)
    if matches:
        raise UsageError(f"{len(matches)} {what}s begin with {quoted(key)}", remedy=f"These fit: {listed}")
    raise UsageError(
        f"There is no {what} {quoted(key)}", remedy=f"There are: {listed}" if listed else "There are none yet"
    )


def quoted(key: str) -> str:
    """Return what a person typed, in quotes: a character that a terminal would obey, or not show, is seen as it is."""
    return repr(key if len(key) <= LONGEST_SHOWN else f"{key[:LONGEST_SHOWN]}…")


def listing(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """Return the names of rows; where two have the same one, or it has no letters to type, with their ids."""
    names = [str(row.get(fields[-1]) or "") for row in rows]
    shown = [
        name if name and names.count(name) == 1 else " ".join(str(row[f]) for f in fields if row.get(f))
        for name, row in zip(names, rows, strict=True)
    ]
    more = f" and {len(shown) - MOST_LISTED} more" if len(shown) > MOST_LISTED else ""
    return ", ".join(one_line(each, 80) for each in sorted(shown)[:MOST_LISTED]) + more
