"""A session is stored whole, or from a place on."""

from __future__ import annotations

from typing import Any

from tests.support.control_plane import ControlPlane


def post(plane: ControlPlane, execution: str, texts: str, status: int = 201, turn: int = 1, **more: Any) -> None:
    messages = [{"role": "user", "content": text, "message_id": text} for text in texts]
    body = {"messages": messages, "metadata": {"turn": turn}, **more}
    plane.call("POST", f"/executions/{execution}/session", body, status=status)


def texts_of(plane: ControlPlane, execution: str) -> str:
    found = plane.call("GET", f"/executions/{execution}/session")
    assert found["message_count"] == len(found["messages"])
    return "".join(x["content"] for x in found["messages"])


def test_parts_follow_each_other_and_a_repeated_one_counts_once(plane: ControlPlane) -> None:
    execution = plane.execute()
    post(plane, execution, "abc")
    post(plane, execution, "de", first=3)
    post(plane, execution, "de", first=3)
    post(plane, execution, "fg", first=5, turn=2)
    assert texts_of(plane, execution) == "abcdefg"
    assert plane.call("GET", f"/executions/{execution}/session")["metadata"] == {"turn": 2}


def test_a_part_replaces_what_was_from_its_place_on(plane: ControlPlane) -> None:
    execution = plane.execute()
    post(plane, execution, "abcdef")
    post(plane, execution, "XY", first=2)
    assert texts_of(plane, execution) == "abXY"
    post(plane, execution, "Z", first=3)
    post(plane, execution, "Q", first=2)
    assert texts_of(plane, execution) == "abQ"
    post(plane, execution, "new")
    assert texts_of(plane, execution) == "new"


def test_a_place_below_the_first_is_refused(plane: ControlPlane) -> None:
    execution = plane.execute()
    post(plane, execution, "a", status=422, first=-1)
    post(plane, execution, "a", status=422, first="x")
    plane.call("GET", f"/executions/{execution}/session", status=404)
