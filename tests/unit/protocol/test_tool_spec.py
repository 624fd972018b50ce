"""A tool's specification on the wire."""

from __future__ import annotations

from dataclasses import fields

from kubiya_worker.protocol.tools import ToolSpec

ALL = ToolSpec(
    name="a",
    description="b",
    parameters={"type": "object", "properties": {"x": {}}},
    idempotent=True,
    risk="high",
    category="network",
    source="mcp",
    timeout=3.0,
    taints=True,
    effects=("write", "exec"),
    origin="s/a",
    remote=True,
    named=True,
    asks=True,
    confirms=True,
    ruled_as="shell",
    server="s",
    names={"x": {"y": "z"}},
    brief=True,
)


def test_each_field_comes_back_whether_it_was_sent_or_not() -> None:
    plain = ToolSpec("a", "b")
    assert all(getattr(ALL, field.name) != getattr(plain, field.name) for field in fields(ToolSpec)[2:])
    assert ToolSpec.parse(ALL.wire()) == ALL
    assert set(ALL.wire()) == {field.name for field in fields(ToolSpec)}
    assert ToolSpec.parse(plain.wire()) == plain
    assert set(plain.wire()) == {"name", "description", "parameters"}
