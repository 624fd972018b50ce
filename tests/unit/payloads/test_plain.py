"""Payloads hold what Temporal's own converter would write, and read back the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.converter import DefaultPayloadConverter

from kubiya_worker.payloads.plain import PlainConverter


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
    ours, theirs = PlainConverter().to_payloads([value]), DefaultPayloadConverter().to_payloads([value])
    assert ours == theirs
    hints: list[type] | None = [type(value)] if value is not None else None
    assert PlainConverter().from_payloads(ours, hints) == DefaultPayloadConverter().from_payloads(theirs, hints)
