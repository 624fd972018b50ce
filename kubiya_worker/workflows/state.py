"""The state of an execution's workflow, and the signals and queries that it takes at any time."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from kubiya_worker.protocol import calls, events, names, room
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows import conversation, lasting, outcomes
from kubiya_worker.workflows.approvals import Approvals
from kubiya_worker.workflows.conversation import Conversation

CONTINUE_AT_EVENTS = 600  # a step is at most some tens of events: no run's history reaches 1,000
CONTINUE_AT_BYTES = 8_000_000  # Temporal warns at 10 MB and ends a history at 50 MB
RESUME_BYTES = 1_800_000  # what a new run is given; Temporal takes payloads of up to 2 MB
STATE_MESSAGES = 200
STATE_BYTES = 1_000_000


class TurnFailed(Exception):
    """The turn cannot go on; the text is for the person.

    `finish` is the turn's finish reason, `kind` the class of the fault, for programs.
    """

    finish = "error"

    def __init__(self, text: str, kind: str = "TurnFailed") -> None:
        super().__init__(text)
        self.kind = kind


class ModelFailed(TurnFailed):
    """A model call failed for good."""

    def __init__(self, error: ActivityError) -> None:
        cause, refused = outcomes.cause_of(error), outcomes.kind_of(error) == names.REFUSED
        # What the model itself has answered needs no introduction.
        kind = outcomes.kind_of(error) or "ModelFailed"
        super().__init__(cause if refused else f"The model could not be called: {cause}", kind)
        self.finish = "content_filter" if refused else "error"


class TooLong(ModelFailed):
    """The conversation does not fit into the model's window, or that may be why it was refused (`guessed`)."""

    def __init__(self, error: ActivityError, *, guessed: bool = False) -> None:
        super().__init__(error)
        self.guessed = guessed


class State:
    """Signals, queries, and how it is carried on into a new run."""

    _input: ex.ExecutionInput
    _raw: dict[str, Any]  # the input as it came, less what is secret in it

    def __init__(self) -> None:
        self._conversation = Conversation()
        self._approvals = Approvals()
        self._context: calls.Context | None = None
        self._budgets = ex.Budgets()
        self._usage = ex.Usage()
        self._status = ex.PENDING
        self._error: str | None = None
        self._error_type: str | None = None  # the class of the fault that `_error` tells
        self._refusal: str | None = None  # why the execution cannot run at all
        self._paused = False
        self._pause_asked = False  # a signal of this run has set `_paused`; what an earlier run carried is older
        self._done = False
        self._turn = 0
        self._turns_ended = 0
        self._step = 0  # model calls in this turn
        self._steps = 0  # model calls in all
        self._shortened = False  # the conversation was shortened on a guess since the last model call that succeeded
        self._repairs = 0  # times in this turn that the model was told what of its answer does not fit
        self._sent = 0  # events on the stream so far, at most, where their number is limited
        self._texts = 0  # assistant messages so far: the number in the id of the last one
        self._tokens = 0  # of the last model call: what the conversation comes to by now
        self._worked = 0.0  # seconds, waiting for people excluded
        self._initial = ex.Budgets()  # as the agent has them
        self._limits: dict[str, Any] = {}  # limits that people have raised
        self._not_raised: str | None = None  # the text for a limit that a person did not raise
        self._raises = 0  # times that people were asked
        self._raising = asyncio.Lock()
        self._tainted = False  # the model has read what others wrote; never unset
        self._left = ""  # the build that an earlier run continued as new to leave
        self._begun_turn = False  # the turn of this number has begun, though no model was called in it
        self._outbox: list[events.Event] = []  # events that the control plane has not taken yet, in order
        self._behind: list[str] = []  # ids, as on the stream, of what waits on workers' disks: newer events come after
        self._turn_record: dict[str, Any] = {}
        self._tool_records: list[dict[str, Any]] = []
        self._member: ex.Member | None = None  # set: a team's leader has asked for this run
        self._permitted = 0  # in a member: the number of model calls that the team's budget allows so far
        self._not_permitted: dict[int, str] = {}  # number of a model call -> why the budget refuses it
        self._busy_since: tuple[float, float] | None = None  # while tools run: when they began, and waited until then

    # -- what people and the control plane may say and ask, at any time

    @workflow.signal(name=names.ADD_MESSAGE)
    def add_message(self, message: dict[str, Any]) -> None:
        if not message.get("message_id"):
            message = {**message, "message_id": f"{workflow.info().workflow_id}_signal_{workflow.uuid4()}"}
        self._sent += 1  # the control plane shows it
        self._conversation.receive({"role": "user", "timestamp": workflow.now().isoformat(), **message})

    @workflow.signal(name=names.MARK_AS_DONE)
    def mark_as_done(self) -> None:
        self._done = True

    @workflow.signal(name=names.PAUSE)
    def pause_execution(self) -> None:
        self._paused = self._pause_asked = True

    @workflow.signal(name=names.RESUME)
    def resume_execution(self) -> None:
        self._paused, self._pause_asked = False, True

    @workflow.signal(name=names.RESOLVE_APPROVAL)
    def resolve_approval(self, answer: dict[str, Any]) -> None:
        self._approvals.answer(answer)

    @workflow.signal(name=names.PERMIT)
    def permit(self, told: dict[str, Any]) -> None:
        if told["refusal"]:
            self._not_permitted[told["call"]] = told["refusal"]
        else:
            self._permitted = max(self._permitted, told["call"])

    @workflow.query(name=names.GET_STATE)
    def get_state(self) -> dict[str, Any]:
        # Assistant messages only: the published stream sends every other one once more, without its id.
        messages = [x for x in self._conversation.messages if x["role"] == "assistant"]
        shown: list[m.Message] = []
        size = 0
        for message in reversed(messages[-STATE_MESSAGES:]):
            size += m.size_of(message)
            if shown and size > STATE_BYTES:
                break
            shown.append(message)
        context = self._context or calls.Context(agent_id="")
        state = ex.ExecutionState(
            status=ex.PAUSED if self._paused and not ex.is_final(self._status) else self._status,
            messages=shown[::-1],
            current_response=self._conversation.last_text(),
            error_message=self._error,
            usage=self._total().wire(),
            metadata={
                "model": context.model_id,
                "model_label": context.model_label,
                "turn": self._turn,
                "steps": self._steps,
                "messages_total": self._conversation.total + len(self._conversation.inbox),
                "messages_waiting": len(self._conversation.inbox),
                **({"error_type": self._error_type} if self._error_type else {}),
                "pending_approvals": self._open_requests(),
                "undelivered_events": len(self._outbox),
                **({"degraded": context.metadata["degraded"]} if context.metadata.get("degraded") else {}),
                **self._about_members(),
            },
            is_waiting_for_input=self._status == ex.WAITING,
            should_complete=self._done,
            is_paused=self._paused,
        )
        return dict(vars(state))

    @workflow.query(name=names.GET_CONTEXT)
    def get_context(self) -> calls.Context | None:
        return self._context

    @workflow.query(name=names.GET_TRANSCRIPT)
    def get_transcript(self, start: int) -> dict[str, Any]:
        return self._conversation.page(start)

    # -- hooks that `Leader` overrides (leader.py)

    def _total(self) -> ex.Usage:
        """Return the tokens that count as this execution's."""
        return self._usage

    def _about_members(self) -> dict[str, Any]:
        return {}

    def _open_requests(self) -> list[dict[str, Any]]:
        """Return the questions to people that nobody has answered."""
        return self._approvals.open_requests()

    def _waited(self) -> float:
        """Return the seconds for which the execution has waited for people."""
        return self._approvals.waited

    # -- the control plane

    async def _lasting(self, name: str, argument: Any, *, result_type: type | None = None) -> Any:
        """Call an activity that talks to the control plane, until it succeeds or is refused."""
        execution_id = self._input.execution_id
        stream = self._input.member.stream if self._input.member else execution_id
        return await lasting.call(name, argument, execution_id, stream=stream, result_type=result_type)

    # -- events and their order

    def _keep(self, event: events.Event) -> None:
        """Keep an event for the next report. It follows the events that wait on workers' disks."""
        if self._limited() and not room.sent(event, room.level(self._sent)):
            return
        self._sent += 1
        self._outbox.append({**event, "after": list(self._behind)} if self._behind else event)

    def _limited(self) -> bool:
        """Return True when the stream shows only a limited number of events of the execution."""
        return self._context is not None and self._context.published

    def _room(self, *, text: bool = False) -> dict[str, Any]:
        """Return how many events the next step may send. `text`: the step is an answer, which comes in chunks."""
        if not self._limited():
            return {}
        least = int(self._member is not None)  # a member's text is shown by its chunks alone
        chunks = max(least, room.pieces(self._sent)) if text else 0
        return {"pieces": chunks, "sparing": room.level(self._sent)}

    def _before(self) -> list[str]:
        """Return the ids, as on the stream, of the events that a step's events have to follow."""
        last = [self._outbox[-1]["event_id"]] if self._outbox else []
        return [*self._behind, *(f"{self._input.execution_id}:{x}" if self._member else x for x in last)]

    def _text_id(self) -> str:
        """Return the id of the next assistant message."""
        self._texts += 1
        return names.assistant_message_id(self._input.execution_id, self._texts)

    def _settle(
        self,
        request: calls.ModelInput | calls.ToolInput | calls.ServerInput,
        result: calls.ModelResult | calls.ToolOutcome | calls.ServerResult,
    ) -> None:
        """Note which events of a step were sent, which are left over, and which wait on a worker's disk."""
        self._sent += result.events
        self._outbox += result.undelivered
        if result.spooled is not None:
            kept = [x for x in self._behind if x not in request.behind]
            self._behind = [*kept, *(x for x in result.spooled if x not in kept)]

    # -- any length, and any version: continue as new

    def _superseded(self) -> bool:
        """Return True when this run is pinned to a build that is no longer the current one.

        A run that continued as new for that reason and is still on the same build is held there by an operator's
        override, so it does not try again.
        """
        return workflow.info().is_target_worker_deployment_version_changed() and _build() != self._left

    async def _renew(self) -> None:
        """Continue as new when the history has grown. Call it only while no step is running."""
        info = workflow.info()
        grown = (
            info.is_continue_as_new_suggested()
            or info.get_current_history_length() >= CONTINUE_AT_EVENTS
            or info.get_current_history_size() >= CONTINUE_AT_BYTES
        )
        superseded = self._superseded()
        if not grown and not superseded:
            return
        if superseded:
            self._left = _build()
        await self._trim()
        await self._quiet()
        state = conversation.pack(self._snapshot())
        if len(state) + len(self._input.prompt) < RESUME_BYTES:
            # Of two versions of a deployment the new run belongs to the one that is current; nothing else to choose.
            on = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if _build() else None
            workflow.continue_as_new({**self._raw, "_resume": state}, initial_versioning_behavior=on)
        if info.is_continue_as_new_suggested():  # the last moment: a history without end is ended by Temporal
            raise TurnFailed(
                f"The conversation is too long to go on ({len(state):,} bytes when packed; {RESUME_BYTES:,} can be "
                "carried). Start a new execution."
            )

    async def _trim(self) -> None:
        """Store the messages that a summary replaces at the control plane. If it takes them, drop them here."""
        gone = self._conversation.outgrown()
        if not gone or not workflow.patched("trim"):
            return
        if self._member is None:  # a member has no session: its events are what is kept
            stored = calls.SessionInput(
                self._input.execution_id,
                self._turn,
                gone,
                self._conversation.stored,
                self._input.user_metadata.get("user_id"),
            )
            try:
                await self._lasting(names.STORE_SESSION, stored)
            except outcomes.LOCAL_FAILURE as error:
                if is_cancelled_exception(error):
                    raise
                workflow.logger.warning("session.refused %s", outcomes.cause_of(error))
                return
        self._conversation.trim()

    async def _quiet(self) -> None:
        """Wait until no signal is being handled."""
        await workflow.wait_condition(workflow.all_handlers_finished)

    def _snapshot(self) -> dict[str, Any]:
        assert self._context is not None
        return {
            "conversation": self._conversation.snapshot(),
            "context": asdict(self._context),
            "usage": self._usage.wire(),
            "approvals": self._approvals.snapshot(),
            "paused": self._paused,
            "done": self._done,
            **{name: getattr(self, f"_{name}") for name in _CARRIED},
        }

    def _restore(self, packed: str) -> None:
        saved = conversation.unpack(packed)
        early = self._conversation.inbox  # signals can come before the run begins
        self._conversation = Conversation.restore(saved["conversation"])
        for message in early:
            self._conversation.receive(message)
        early_answers = self._approvals
        self._approvals = Approvals.restore(saved["approvals"])
        self._approvals.take_over(early_answers)
        self._context = calls.Context.restore(saved["context"])
        numbers = (names.assistant_number(str(x.get("message_id"))) for x in self._conversation.messages)
        # A run of 0.1.0 carried no count: as many as were made, at least.
        self._texts = max([int(saved.get("steps", 0)), int(saved.get("turn", 0)), *numbers])
        self._usage = ex.Usage.parse(saved["usage"])
        for name in _CARRIED:
            if name in saved:  # an earlier version carried less
                setattr(self, f"_{name}", saved[name])
        # A signal that came first counts: pause, resume and done are not undone by older state.
        self._done = self._done or saved["done"]
        if not self._pause_asked:
            self._paused = saved["paused"]


def _build() -> str:
    """Return the build id of the worker that runs the current task; empty without worker versioning."""
    version = workflow.info().get_current_deployment_version()
    return version.build_id if version and version.deployment_name else ""


_CARRIED = (
    *("status", "error", "error_type", "texts", "sent", "turn", "turns_ended", "step", "steps"),
    *("worked", "permitted", "left", "begun_turn", "outbox", "behind", "turn_record", "tool_records", "tainted"),
    *("limits", "not_raised", "raises", "tokens"),
    *("shortened", "repairs"),
)
