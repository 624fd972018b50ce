"""A conversation is written into a session in parts, or as a whole to a control plane that takes no parts."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from kubiya_worker.activities import session_storage
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol import names


class Plane:
    def __init__(self, *features: str, stored: str = "") -> None:
        self.features = set(features)
        self.stored = stored

    def session_messages(self, execution_id: str) -> list[m.Message]:
        return [message(name) for name in self.stored]


def message(name: str, size: int = 1) -> m.Message:
    return {"role": "user", "content": "x" * size, "message_id": name}


def writes(plane: Plane, messages: list[m.Message], first: int) -> list[tuple[int, str]]:
    """(place, names) of each write."""
    made: list[Write] = asyncio.run(
        session_storage.session_writes(cast(ControlPlane, plane), "e", messages, first=first, user_id=None, turn=1)
    )
    return [(w.body.get("first", 0), "".join(str(x["message_id"]) for x in w.body["messages"])) for w in made]


def test_what_one_request_does_not_take_goes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_storage, "PART_BYTES", 1000)
    plane = Plane(names.FEATURE_SESSION_PARTS)
    assert writes(plane, [message("a", 400), message("b", 400), message("c", 2000), message("d")], 0) == [
        *((0, "ab"), (2, "c"), (3, "d"))
    ]
    assert writes(plane, [message("e"), message("f")], 4) == [(4, "ef")]
    assert writes(plane, [], 0) == [(0, "")]


@pytest.mark.parametrize(
    ("stored", "first", "expected"),
    [("", 0, "cd"), ("ab", 2, "abcd"), ("abc", 2, "abcd"), ("abcd", 2, "abcd")],
)
def test_a_control_plane_that_knows_whole_sessions_is_given_all_of_it(stored: str, first: int, expected: str) -> None:
    assert writes(Plane(stored=stored), [message("c"), message("d")], first) == [(0, expected)]


def test_a_tools_output_is_under_both_of_its_names_and_comes_back_as_it_was() -> None:
    tool: dict[str, Any] = {**message("t"), "role": "tool", "tool_call_id": "c", "status": "failed"}
    kept = session_storage.to_session(tool)
    assert (kept["tool_execution_id"], kept["tool_output"], kept["tool_error"]) == ("c", "x", "x")
    assert session_storage.from_session(kept) == {**tool, "tool_error": "x"}
