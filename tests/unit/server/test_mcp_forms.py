"""Forms for MCP clients without a session at any server: their ids, and the sessions' ids."""

from __future__ import annotations

import json
import re

import pytest

from kubiya_worker.server import mcp_forms
from kubiya_worker.server.mcp_forms import ClosedForms
from kubiya_worker.server.sealing import KeyInMemory, Seal


def test_the_name_of_a_form_is_that_of_its_approval() -> None:
    sent = mcp_forms.form({"id": "a1", "tool_name": "t", "tool_args": {"x": "a\nb"}}).decode()
    found = re.fullmatch(r"event: message\r\ndata: (.*)\r\n\r\n", sent)
    assert found is not None, "one event, and one line of data"
    assert json.loads(found[1])["id"] == "kubiya-form:a1" and mcp_forms.is_answer(
        json.loads('{"id": "kubiya-form:a1"}')
    )
    assert not mcp_forms.is_answer({"id": "kubiya-form:a1", "method": "ping"}) and not mcp_forms.is_answer({"id": 1})


@pytest.mark.parametrize(
    ("capabilities", "shows"),
    [
        ({}, False),
        ({"elicitation": {}}, True),
        ({"elicitation": {"form": {}}}, True),
        ({"elicitation": {"url": {}}}, False),
    ],
)
def test_a_session_says_whether_the_client_shows_forms(capabilities: dict[str, object], shows: bool) -> None:
    assert mcp_forms.session_of({"params": {"capabilities": capabilities}}) == {"forms": shows}
    assert mcp_forms.session_of({"params": None}) == mcp_forms.session_of({}) == {"forms": False}


def test_a_session_is_opened_by_whom_it_was_made_for_alone() -> None:
    seal = Seal(KeyInMemory())
    made = mcp_forms.sealed(seal, {"forms": True}, "o k1 ann")
    assert re.fullmatch(r"[!-~]+", made), "MCP wants visible ASCII"
    assert mcp_forms.opened(seal, made, "o k1 ann") == {"forms": True}
    for whose, given in (
        ("o k2 ann", made),
        ("o k1 ann", made[:-4] + "AAAA"),
        ("o k1 ann", "0f" * 16),
        ("o k1 ann", ""),
    ):
        assert mcp_forms.opened(seal, given, whose) is None
    assert mcp_forms.opened(Seal(KeyInMemory()), made, "o k1 ann") is None


def test_who_waits_for_a_form_is_woken_by_its_end_and_by_no_other() -> None:
    forms, told = ClosedForms(), list[str]()
    forms.told = told.append
    with forms.awaited("ann 1") as one, forms.awaited("ann 1") as same, forms.awaited("bob 1") as other:
        forms.close("ann 1")
        assert one.is_set() and same.is_set() and not other.is_set()
    forms.wake("ann 1")
    assert told == ["ann 1"] and not forms._waiting, "what other servers say is not said again, and nothing is kept"
