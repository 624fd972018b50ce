"""Payloads hold what Temporal's own converter would write, and read back the same."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import DefaultPayloadConverter

from kubiya_worker.payloads.json_converter import JsonConverter


@dataclass
class Inner:
    name: str
    tags: tuple[str, ...] = ()


@dataclass
class Outer:
    inner: Inner
    many: list[Inner] = field(default_factory=list)
    by_name: dict[str, Any] = field(default_factory=dict)
    at: datetime | None = None


VALUES = [
    Outer(
        Inner("a", ("x",)),
        [Inner("b"), Inner("ü")],
        {"z": Inner("c"), "a": [Inner("d")]},
        datetime(2026, 1, 1, tzinfo=UTC),
    ),
    [Inner("a")],
    {"b": 1, "a": ["x"]},
    None,
    b"\x00\x01",
    "text",
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_the_same_bytes_as_the_library_writes(value: Any) -> None:
    ours, theirs = JsonConverter().to_payloads([value]), DefaultPayloadConverter().to_payloads([value])
    assert ours == theirs
    hints: list[type] | None = [type(value)] if value is not None else None
    assert JsonConverter().from_payloads(ours, hints) == DefaultPayloadConverter().from_payloads(theirs, hints)


@dataclass
class Told:
    name: str
    inner: Inner | None = None
    counts: list[int] = field(default_factory=list)
    words: list[str] | None = None
    share: float = 0.0
    sure: bool = False
    made: int = field(default=1, init=False)


@dataclass
class Least:
    name: str
    inner: Inner | None = None
    words: list[str] | None = None
    objects: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0
    anything: Any = None


RAW: list[Any] = [
    {"name": "a"},
    {"name": "a", "unknown": 1, "inner": {"name": "b", "more": []}},
    {"name": "a", "inner": None, "words": ["x"], "objects": [{"a": {"b": 1}}], "number": 2.0, "anything": [1]},
    {},
    {"name": None},
    {"name": 1},
    {"name": "a", "inner": []},
    {"name": "a", "inner": {}},
    {"name": "a", "words": "x"},
    {"name": "a", "words": [1]},
    {"name": "a", "objects": {}},
    {"name": "a", "objects": ["x"]},
    {"name": "a", "number": "1"},
    {"name": "a", "counts": ["1"]},
    {"name": "a", "made": 3},
    {"name": "a", "sure": 1},
    ["a"],
]


@pytest.mark.parametrize("kind", [Told, Least])
@pytest.mark.parametrize("raw", RAW, ids=json.dumps)
def test_reads_or_refuses_what_the_library_does(kind: type, raw: Any) -> None:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(raw).encode())

    def read(converter: Any) -> Any:
        try:
            return converter.from_payloads([payload], [kind])
        except Exception as error:
            return type(error)

    assert read(JsonConverter()) == read(DefaultPayloadConverter())


def test_a_class_that_was_read_can_be_dropped() -> None:
    kind = make_dataclass("Once", [("name", str), ("inner", Inner)])
    made = JsonConverter().from_payloads(JsonConverter().to_payloads([kind("a", Inner("b"))]), [kind])
    assert made == [kind("a", Inner("b"))]
    there = weakref.ref(kind)
    del kind, made
    gc.collect()
    assert there() is None
