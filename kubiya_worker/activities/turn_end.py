"""The end of a turn at a control plane that takes single requests (protocol.md#a6, #b6): their order, and the decision.

The session, the response and the usage are stored before the turn is posted, as the control plane then judges and
closes the execution. The tool calls name the row that the control plane made of the turn. Without a decision of the
control plane, the worker decides. Nothing is posted twice: this process remembers what it has posted, and a process
that is new to the execution asks the control plane what it has.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.activities.session_storage import text_of
from kubiya_worker.control_plane import records, writes
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.delivery import Delivery
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import calls
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.tools.redaction import Redactor

DECIDES_WITHIN: Final = 5.0  # seconds that the control plane has for its decision, after a turn was posted
LOOKS: Final = (0.2, 0.5, 1.0, 1.5, 2.0)  # seconds between looks at the row meanwhile
CONFIRMATIONS: Final = 2  # times that a final status is written once more, where a late decision wrote another
MOST_SINGLY: Final = 20  # tool calls that are each tried although the first of them was not taken
UNDECIDED: Final = frozenset({ex.RUNNING, ex.PENDING, ex.QUEUED, ""})


@dataclass
class Posted:
    """A turn that was posted. `row` is its id at the control plane, if it is one that a tool call can name.

    `taken`: the turn was stored. `calls`: its tool calls were stored.
    """

    turn: int
    row: str | None = None
    taken: bool = False
    calls: bool = False


class TurnEnd:
    """The end of one turn. `seen` says that this process has worked on the execution before."""

    def __init__(
        self,
        control_plane: ControlPlane,
        delivery: Delivery,
        turn: calls.TurnInput,
        posted: Posted | None,
        *,
        seen: bool,
    ) -> None:
        self._control_plane, self._delivery, self._turn, self._seen = control_plane, delivery, turn, seen
        self.posted = posted if posted and posted.turn == turn.turn else Posted(turn.turn)
        self._known = posted is not None and posted.turn == turn.turn

    async def run(self, session: Write | None, keep: Callable[[Posted], None]) -> str:
        """Make the writes in their order and return the execution's next status. `keep` remembers what was posted."""
        turn, delivery = self._turn, self._delivery
        if turn.events and not turn.behind:
            await delivery.required(writes.events(turn.execution_id, turn.events))
        if session is None or await delivery.required(session) is None:
            await delivery.required(writes.events(turn.execution_id, [_not_stored(turn)]))
        status = turn.force_status
        if turn.turn_record:
            summary = {name: turn.final_fields.get(name) for name in ("response", "usage", "error_message")}
            fields = {name: value for name, value in summary.items() if value is not None}
            if fields:
                await delivery.required(writes.execution(turn.execution_id, **fields))
            await self._post()
            keep(self.posted)
            _, decided = await asyncio.gather(self._post_calls(), self._decision())
            keep(self.posted)
            status = status or decided
        return status or decide(turn)

    async def settle(self, status: str, outcome: list[Write]) -> None:
        """Write the outcome of the turn. Its status is final, also against a decision that comes late."""
        for write in outcome:
            await self._delivery.make(write)
        if ex.is_final(status) and self._turn.force_status:
            await confirm(self._control_plane, self._delivery, self._turn.execution_id, status)

    # -- the turn and its calls

    async def _post(self) -> None:
        if self._known:
            return
        if not self._seen:
            await self._look()
        if not self.posted.taken:
            answer = await self._delivery.optional(writes.turn(records.turn(self._turn.turn_record)))
            self.posted.taken, self.posted.row = answer is not None, _row((answer or {}).get("turn_id"))

    async def _look(self) -> None:
        """Find out from the control plane whether an earlier worker has posted the turn and its tool calls."""
        posted = await asyncio.to_thread(self._control_plane.turns_posted, self._turn.execution_id)
        turns = posted.get("turns")
        for row in turns if isinstance(turns, list) else ():
            if isinstance(row, dict) and row.get("turn_number") == self._turn.turn:
                self.posted.taken, self.posted.row = True, _row(row.get("id") or row.get("turn_id"))
        calls_posted = posted.get("tool_calls")
        mine = {str(record.get("tool_use_id")) for record in self._turn.tool_records}
        self.posted.calls = any(
            isinstance(row, dict) and str(row.get("tool_use_id")) in mine
            for row in (calls_posted if isinstance(calls_posted, list) else ())
        )

    async def _post_calls(self) -> None:
        """Post the tool calls in one request; if that fails, post each of them alone."""
        if not self._turn.tool_records or self.posted.calls:
            return
        rows = [records.tool_call(record, self.posted.row) for record in self._turn.tool_records]
        await post_calls(self._delivery, rows)
        self.posted.calls = True

    # -- the decision

    async def _decision(self) -> str:
        """Return the status that the control plane decided on, or else the worker's own choice."""
        if not self.posted.taken:
            return decide(self._turn)
        ends = time.monotonic() + DECIDES_WITHIN
        for pause in LOOKS:
            try:
                execution = await asyncio.to_thread(
                    self._control_plane.get_execution, self._turn.execution_id, (3.0, 5.0)
                )
            except ControlPlaneError:
                execution = {}
            status = str(execution.get("status") or "").lower()
            if status in ex.STATUSES and status not in UNDECIDED:
                return status
            if time.monotonic() + pause > ends:
                break
            await asyncio.sleep(pause)
        return decide(self._turn)


def with_results(
    tool_records: list[dict[str, Any]], messages: list[m.Message], redactor: Redactor
) -> list[dict[str, Any]]:
    """Return the records with each tool's arguments and answer, taken from the conversation.

    The history holds those only once, in the conversation. They are missing where a summary has replaced them.
    """
    arguments_by_call: dict[str, Any] = {}
    answered: dict[str, m.Message] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            arguments_by_call[str(call.get("id"))] = call.get("arguments")
        if message.get("role") == "tool":
            answered[str(message.get("tool_call_id"))] = message
    completed: list[dict[str, Any]] = []
    for record in tool_records:
        key, record = str(record.get("tool_use_id")), dict(record)
        if key in arguments_by_call:
            record["tool_input"] = redactor.value(_arguments(arguments_by_call[key]))
        if key in answered:
            record["tool_output"] = redactor.text(text_of(answered[key].get("content")))
            if not record.get("success", True):
                record["error_type"] = answered[key].get("status")
        completed.append(record)
    return completed


def _arguments(text: Any) -> dict[str, Any]:
    """Return the arguments of a call as an object; any other value comes under the key `raw`."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"raw": value}


async def post_calls(delivery: Delivery, rows: list[dict[str, Any]]) -> None:
    """Post records of one execution's tool calls in one request; if that fails, post each record alone."""
    if len(rows) > 1 and await delivery.optional(writes.tool_calls(rows)) is not None:
        return
    for record in rows:
        if await delivery.optional(writes.tool_call(record)) is None and len(rows) > MOST_SINGLY:
            return  # not one of them, it seems


async def confirm(control_plane: ControlPlane, delivery: Delivery, execution_id: str, status: str) -> None:
    """Write a final status once more where the row shows another: a decision on a turn may come after it."""
    for _ in range(CONFIRMATIONS):
        try:
            execution = await asyncio.to_thread(control_plane.get_execution, execution_id, (3.0, 5.0))
        except ControlPlaneError:
            return
        if str(execution.get("status") or status).lower() == status:
            return
        await delivery.required(writes.execution(execution_id, status=status))


def decide(turn: calls.TurnInput) -> str:
    """Return the next status where the control plane does not decide. Does no I/O.

    A chat waits for what the person says next. A job, or a run that nobody chats with, is over.
    """
    if turn.force_status:
        return turn.force_status
    record = turn.turn_record
    if record.get("error_message") or str(record.get("finish_reason") or "").lower() in ("error", "content_filter"):
        return ex.FAILED
    metadata = turn.final_fields.get("execution_metadata") or {}
    return ex.WAITING if metadata.get("interactive") else ex.COMPLETED


def _row(value: Any) -> str | None:
    """Return the id of a row if it is a UUID: the server fails on a tool call that names anything else."""
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        return None


def _not_stored(turn: calls.TurnInput) -> ev.Event:
    text = "The control plane did not store this conversation. What was said so far may be missing from it later."
    data = {"message": text, "execution_id": turn.execution_id}
    return ev.event(f"notice:{turn.execution_id}:session:{turn.turn}", ev.NOTICE, data)
