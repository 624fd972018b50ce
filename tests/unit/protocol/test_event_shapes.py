"""The table of event shapes: whole, and able to say no."""

from __future__ import annotations

from kubiya_worker.protocol import event_shapes
from kubiya_worker.protocol import events as ev

STATUS = {"status": "running", "execution_id": "e1"}


def test_every_type_of_event_has_one_shape() -> None:
    types = {value for name, value in vars(ev).items() if name.isupper() and isinstance(value, str)}
    told = [shape.event_type for shape in event_shapes.SHAPES]
    assert len(told) == len(set(told))
    assert types - set(ev.MEMBER_TYPES.values()) <= set(told)


def test_what_does_not_fit_is_said() -> None:
    assert event_shapes.problems(ev.STATUS, STATUS) == []
    assert event_shapes.problems(ev.STATUS, {"status": "running"}) == ["status: execution_id is missing"]
    assert event_shapes.problems(ev.STATUS, {**STATUS, "status": 3}) == ["status: status is no string: 3"]
    assert event_shapes.problems(ev.STATUS, {**STATUS, "more": 1}) == ["status: more is not in the table"]
    assert event_shapes.problems("nonsense", {}) == ["nonsense: not a type of event"]
    about = dict.fromkeys(["member_name", "member_execution_id", "parent_message_id", "parent_tool_execution_id"], "x")
    member = {"message_id": "m", "source": "team_member", "member_path": ["a"], **about}
    assert event_shapes.problems(ev.RESET_CHUNKS, member) == []
    assert event_shapes.problems(ev.RESET_CHUNKS, {"message_id": "m", "source": "team_member"})[0].endswith(
        "is missing"
    )
