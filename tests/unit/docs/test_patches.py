"""Each change behind `workflow.patched` has a name that tells it, and docs/upgrades.md explains the name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CALLS = {"patched", "deprecate_patch"}


def patches(source: str) -> list[str | None]:
    """Return the name that each call gives to its change; None where it is not written in the call itself."""
    if not any(name in source for name in CALLS):  # nearly every file: a look at its tree takes a hundred times as long
        return []
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        str(call.args[0].value) if call.args and isinstance(call.args[0], ast.Constant) else None
        for call in calls
        if (call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")) in CALLS
    ]


def explained() -> set[str]:
    page = (ROOT / "docs" / "upgrades.md").read_text("utf-8")
    table = page.split("| name | an execution that has it |")[1].split("\n\n")[0]
    return set(re.findall(r"^\| `(.+?)` \| .{20,} \|$", table, re.MULTILINE))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('workflow.patched("a-b")', ["a-b"]),
        ('patched("a")', ["a"]),
        ('workflow.deprecate_patch("old")', ["old"]),
        ("workflow.patched(name)", [None]),
        ("patched_over('x')", []),
    ],
)
def test_a_name_is_found_where_it_is_written(source: str, found: list[str | None]) -> None:
    assert patches(source) == found


def test_each_name_is_of_words_and_each_is_explained() -> None:
    """A name stands in histories for ever: it never changes, and its line in docs/upgrades.md stays with it."""
    used = {name for path in (ROOT / "kubiya_worker").rglob("*.py") for name in patches(path.read_text("utf-8"))}
    for name in used:
        assert name and re.fullmatch(r"[a-z]+(-[a-z]+)*", name), f"{name}: write words joined by hyphens"
    assert used == explained()


def test_names_that_were_released_are_still_there() -> None:
    """Without the name, an execution that began with that version does not replay."""
    released = {
        "trim",
        "pause-before-tools",
        "tell-before-members",
        "tell-invalid-input",
        "await-approval",
        "fail-when-failed",
        "fail-when-cancelled",
    }
    assert released <= explained()
