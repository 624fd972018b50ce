"""This module seals audit records into a hash chain, and finds records that were changed, removed, moved or inserted.

Each record holds the hash of the one before it and its own hash over all its other fields, so nobody can change one and
leave the rest as they were. Who can write to the database can seal all later records again; only a head that is kept
elsewhere shows that (docs/security.md). Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Record = dict[str, Any]
CUT: Final = "cut"  # the field that tells a cut, in a record of its own
CUTTING: Final = "audit.cut"  # that record's action
START: Final = "0" * 64  # what the first record has as the hash of the one before it


@dataclass(frozen=True)
class Head:
    """A head is the number and hash of the last record: all records up to it are as they were while it fits."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Return the head of `NUMBER:HASH`; raise ValueError for another form."""
        number, colon, digest = text.strip().partition(":")
        if not colon or not number.isdecimal() or len(digest) != len(START) or set(digest) - set("0123456789abcdef"):
            raise ValueError("a head is NUMBER:HASH, as `kubiya audit head` prints it")
        return cls(int(number), digest)


EMPTY: Final = Head(0, START)


@dataclass(frozen=True)
class Problem:
    """A problem says what is wrong, and from which record to which (both the same for one record)."""

    first: int
    last: int
    text: str


def line_of(record: Mapping[str, Any]) -> str:
    """Return the one form in which a record is stored, exported and hashed: JSON in ASCII, sorted, without blanks."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


def sealed(record: Mapping[str, Any], head: Head) -> Record:
    """Return the record as the one after `head`, with its number, the hash before it and its own."""
    body = {**record, "seq": head.seq + 1, "previous": head.hash}
    return {**body, "hash": _digest(body)}


def head_of(record: Mapping[str, Any]) -> Head:
    return Head(record["seq"], record["hash"])


class ChainCheck:
    """A check of a chain, line by line in their order; `heads` are what is known of it from elsewhere.

    `cut` is where the chain begins when earlier records were removed. Whoever removed them rightly left a record of it
    in what follows; a check that begins later than that, `after` a head, does not look for it.

    After a problem the chain goes on from what the record claims, so that one wrong record is told once.
    """

    def __init__(self, heads: Iterable[Head] = (), after: Head = EMPTY, cut: Head = EMPTY) -> None:
        begin = max(after, cut, key=lambda head: head.seq)
        self._wanted = {head.seq: head.hash for head in heads if head.seq >= begin.seq}
        self._begin, self._cut, self._told = begin, cut if cut.seq > after.seq else EMPTY, ""
        self._last, self.lines = begin, 0
        self._linked = True  # whether the next record must hold the hash of the last one

    def line(self, line: str) -> Iterator[Problem]:
        """Yield the problems of the next line."""
        self.lines += 1
        record = _parsed(line)
        if record is None or record["hash"] != _digest({k: v for k, v in record.items() if k != "hash"}):
            self._last, self._linked = Head(self._last.seq + 1, ""), False
            what = "was changed" if record is not None else "is not one that the control plane wrote"
            yield Problem(self._last.seq, self._last.seq, f"record {self._last.seq} (line {self.lines}) {what}")
            return
        found, last = head_of(record), self._last
        if found.seq <= last.seq:
            text = f"record {found.seq} (line {self.lines}) stands a second time, or after a later one"
            yield Problem(found.seq, found.seq, text)
            return
        if found.seq > last.seq + 1:
            yield Problem(last.seq + 1, found.seq - 1, f"{_named(last.seq + 1, found.seq - 1)} missing")
        elif self._linked and record["previous"] != last.hash:
            before = f"record {last.seq}" if last.seq else "the beginning"
            yield Problem(last.seq, found.seq, f"record {found.seq} does not follow {before}: one of them was replaced")
        told = self._wanted.pop(found.seq, found.hash)
        if told != found.hash:
            yield Problem(found.seq, found.seq, f"record {found.seq} is not the one of the head {found.seq}:{told}")
        self._last, self._linked = found, True
        if record.get("action") == CUTTING:
            self._told = str(record.get(CUT))

    def end(self) -> Iterator[Problem]:
        """Yield what is missing at the beginning, and after the last line."""
        begin = self._begin
        if self._wanted.get(begin.seq, begin.hash) != begin.hash and begin.seq:
            yield Problem(begin.seq, begin.seq, f"record {begin.seq} was not the one of the head that was kept")
        if self._cut.seq and self._told != str(self._cut):
            text = f"{_named(1, self._cut.seq)} missing, and no record tells that they were removed"
            yield Problem(1, self._cut.seq, text)
        for seq in sorted(self._wanted):
            if seq > self._last.seq:
                yield Problem(self._last.seq + 1, seq, f"{_named(self._last.seq + 1, seq)} missing at the end")


def problems(
    lines: Iterable[str], heads: Iterable[Head] = (), after: Head = EMPTY, cut: Head = EMPTY
) -> Iterator[Problem]:
    """Yield each problem of a chain of lines, in their order."""
    check = ChainCheck(heads, after, cut)
    for line in lines:
        yield from check.line(line)
    yield from check.end()


def cut_of(lines: Iterable[str]) -> Head:
    """Return the cut after which exported records begin, as the last record of a removal tells it."""
    told = ""
    for line in lines:
        if CUTTING in line and (record := _parsed(line)) is not None and record.get("action") == CUTTING:
            told = str(record.get(CUT))
    try:
        return Head.parse(told)
    except ValueError:
        return EMPTY


def _named(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(line_of(body).encode()).hexdigest()


def _parsed(line: str) -> Record | None:
    """Return the record of a line that is exactly as it was written; JSON that reads in two ways is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or line_of(record) != line.strip():
        return None
    right = isinstance(record.get("seq"), int) and all(isinstance(record.get(k), str) for k in ("previous", "hash"))
    return record if right else None
