"""Text of others taints an execution, which then asks; no configuration lifts what another one asks for."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.protocol import taint
from kubiya_worker.protocol.tools import EFFECTS, ToolSpec

WEB = ToolSpec("http_request", "", taints=True, remote=True, effects=("egress",))
NAMED = ToolSpec("search_tickets", "", taints=True, remote=True, effects=("egress",), named=True)
TICKETS = ToolSpec("close_ticket", "", taints=True, remote=True, effects=EFFECTS, named=True)
FILES = ToolSpec("read_file", "", taints=True)
WRITER = ToolSpec("save_file", "", effects=("write",))


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ((), "web"),
        ((None, None), "web"),
        ((None, None, "off"), "off"),
        (("off", False, None), "off"),  # YAML reads a bare off as false
        (("web", "off", None), "web"),
        (("web", "ask", None), "ask"),
        (("ask", "off", None), "ask"),
        ((None, None, "ask"), "ask"),
        (("aks", None, None), "ask"),
        ((None, True, None), "ask"),
        (([], None), "ask"),
    ],
)
def test_nobody_lifts_the_taint_policy_of_another(settings: tuple[Any, ...], mode: str) -> None:
    assert taint.strictest(*settings) == mode


@pytest.mark.parametrize(
    ("mode", "spec", "taints", "remote", "expected"),
    [
        ("web", WEB, None, None, True),
        ("web", FILES, None, None, False),
        ("web", FILES, None, True, True),  # a command that fetches
        ("web", WEB, False, None, False),  # a refusal holds nothing of others
        ("ask", FILES, None, None, True),
        ("ask", WRITER, None, None, False),
        ("ask", WEB, False, True, False),
    ],
)
def test_whose_text_taints(mode: str, spec: ToolSpec, taints: bool | None, remote: bool | None, expected: bool) -> None:
    assert taint.tainted_by(mode, spec, taints, remote) is expected


@pytest.mark.parametrize(
    ("mode", "spec", "effects"),
    [
        ("off", TICKETS, ()),
        ("web", WEB, ("egress",)),
        ("web", NAMED, ()),
        ("web", TICKETS, ("write", "exec")),
        ("web", WRITER, ("write",)),
        ("web", FILES, ()),
        ("ask", NAMED, ("egress",)),
        ("ask", TICKETS, EFFECTS),
    ],
)
def test_what_a_tainted_execution_asks_for(mode: str, spec: ToolSpec, effects: tuple[str, ...]) -> None:
    assert taint.guarded(mode, spec) == effects


def test_a_session_that_is_taken_up_taints_by_what_is_in_it() -> None:
    plain, marked = {"role": "tool"}, {"role": "tool", "tainted": True}
    assert not taint.inherited("web", [{"role": "user"}, plain]) and taint.inherited("web", [plain, marked])
    assert taint.inherited("ask", [plain]) and not taint.inherited("ask", [{"role": "user"}])
