"""The record of a turn, and what is left of a turn when it has ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kubiya_worker.protocol.execution import Usage
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.turn import Turn

BEGAN = datetime(2026, 11, 28, 10, tzinfo=UTC)


def worked(turn: Turn) -> Turn:
    turn.start("e-1", Usage(100, 10), BEGAN)
    turn.step += 2
    turn.note_model("m-1", "demo")
    turn.note_tool({"tool_name": "run_shell"})
    return turn


def test_the_record_has_the_usage_of_its_own_turn() -> None:
    record = worked(Turn()).record(
        usage=Usage(150, 30),
        model_id="m-0",
        finish="stop",
        text="x" * 600,
        failure=None,
        now=BEGAN + timedelta(seconds=5),
    )
    assert (record["input_tokens"], record["output_tokens"]) == (50, 20)
    assert (record["turn_id"], record["model"], record["tools_called_names"]) == ("e-1_turn_1", "m-1", ["run_shell"])
    assert len(record["response_preview"]) == 500
    assert "usage_before" not in record


def test_a_turn_in_which_no_model_was_called_has_no_record_and_is_not_counted() -> None:
    turn = Turn()
    turn.start("e-1", Usage(), BEGAN)
    assert turn.under_way
    assert not turn.record(usage=Usage(), model_id="m", finish="stop", text="", failure=None, now=BEGAN)
    turn.end()
    assert (turn.number, turn.ended, turn.under_way) == (1, 0, False)


def test_a_turn_that_goes_on_in_the_next_run_is_not_started_again() -> None:
    carried, again = Carried(), Turn()
    worked(Turn()).carry(carried)
    again.restore(Carried.unpack(carried.pack()))
    assert again.under_way
    assert again.tool_records == [{"tool_name": "run_shell"}]
    again.end()
    assert (again.ended, again.tool_records) == (1, [])
