"""This module has the turn that an execution is in: its number, its steps, and the record that is posted at its end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kubiya_worker.protocol import execution as ex
from kubiya_worker.workflows.carried import Carried


class Turn:
    """The turn from one message of a person to the answer to it. This class uses no clock and does no I/O."""

    def __init__(self) -> None:
        self.number = 0
        self.ended = 0  # turns so far in which a model was called
        self.step = 0  # model calls in this turn
        self.repairs = 0  # times in this turn that the model was told what of its answer does not fit
        self._begun = False  # the turn of this number has begun, though no model was called in it
        self._record: dict[str, Any] = {}
        self._tool_records: list[dict[str, Any]] = []

    @property
    def under_way(self) -> bool:
        """Return True while a turn has begun and not ended, which an earlier run may have begun."""
        return self.step != 0 or self._begun

    def start(self, execution_id: str, usage: ex.Usage, now: datetime) -> None:
        """Start the next turn. `usage` is what the execution has used before it."""
        self.number += 1
        self.repairs = 0
        self._begun = True
        self._tool_records = []
        self._record = {
            "execution_id": execution_id,
            "turn_number": self.number,
            "turn_id": f"{execution_id}_turn_{self.number}",
            "started_at": now.isoformat(),
            "usage_before": usage.wire(),
        }

    @property
    def started_at(self) -> str:
        """Return when the turn has begun, in ISO-8601; nothing before the first one."""
        return str(self._record.get("started_at") or "")

    @property
    def model(self) -> str:
        """Return the model that has answered last in this turn."""
        return str(self._record.get("model") or "")

    def note_model(self, model: str | None, provider: str | None) -> None:
        self._record.update(model=model, model_provider=provider)

    def note_tool(self, record: dict[str, Any]) -> None:
        self._tool_records.append(record)

    @property
    def tool_records(self) -> list[dict[str, Any]]:
        return self._tool_records

    def take_tool_records(self) -> list[dict[str, Any]]:
        """Return the records of the tool calls and forget them."""
        records, self._tool_records = self._tool_records, []
        return records

    def record(
        self, *, usage: ex.Usage, model_id: str, finish: str, text: str, failure: str | None, now: datetime
    ) -> dict[str, Any]:
        """Return what is posted about the turn; nothing when no model was called. `usage` includes earlier turns'."""
        if not self.step:
            return {}
        before = self._record.get("usage_before") or {}
        return {k: v for k, v in self._record.items() if k != "usage_before"} | {
            **usage.minus(ex.Usage.parse(before)).wire(),
            "model": self._record.get("model") or model_id,
            "completed_at": now.isoformat(),
            "finish_reason": finish,
            "response_preview": text[:500],
            "tools_called_count": len(self._tool_records),
            "tools_called_names": [record["tool_name"] for record in self._tool_records],
            "error_message": failure,
        }

    def end(self) -> None:
        self.ended += bool(self.step)
        self.step, self._begun = 0, False
        self._tool_records = []

    def carry(self, into: Carried) -> None:
        into.turn, into.turns_ended, into.step = self.number, self.ended, self.step
        into.repairs, into.begun_turn = self.repairs, self._begun
        into.turn_record, into.tool_records = self._record, self._tool_records

    def restore(self, saved: Carried) -> None:
        self.number, self.ended, self.step = saved.turn, saved.turns_ended, saved.step
        self.repairs, self._begun = saved.repairs, saved.begun_turn
        self._record, self._tool_records = saved.turn_record, saved.tool_records
