"""This module continues an execution as a new run: its history has grown, or its worker's build is replaced."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from kubiya_worker.protocol import calls, names
from kubiya_worker.workflows import activity_failures, options
from kubiya_worker.workflows.background import BackgroundTasks
from kubiya_worker.workflows.carried import Carried, CarriedPart
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.failures import TurnFailed
from kubiya_worker.workflows.mcp_servers import McpServers
from kubiya_worker.workflows.model_calls import ModelCalls

CONTINUE_AT_EVENTS = 600  # a step is at most some tens of events: no run's history reaches 1,000
CONTINUE_AT_BYTES = 8_000_000  # Temporal warns at 10 MB and ends a history at 50 MB
PACKINGS = 5  # of one try, while people write
COMPACTIONS = 3  # before a conversation is refused as too long; each replaces some three quarters of what is left
RESUME_BYTES = 1_800_000  # what a new run is given; Temporal takes payloads of up to 2 MB


class Continuation:
    """The way of an execution from one run to the next. `parts` have the state that goes with it."""

    def __init__(
        self,
        core: ExecutionCore,
        mcp_servers: McpServers,
        background: BackgroundTasks,
        model_calls: ModelCalls,
        parts: Sequence[CarriedPart],
    ) -> None:
        self._run = core.run
        self._conversation = core.conversation
        self._turn = core.turn
        self._mcp_servers = mcp_servers
        self._background = background
        self._model_calls = model_calls
        self._parts = (*parts, self)
        self._superseded_build = ""  # the build that an earlier run continued as new to leave
        self._too_long = 0  # bytes of the packed state that did not fit
        self._begins = 0  # the first message that is held, when it did not fit

    def superseded(self) -> bool:
        """Return True when this run is pinned to a build that is no longer the current one.

        A run that continued as new for that reason and is still on the same build is held there by an operator's
        override, so it does not try again.
        """
        return workflow.info().is_target_worker_deployment_version_changed() and _build() != self._superseded_build

    async def renew(self) -> None:
        """Continue as new when the history has grown. Call it only while no step is running."""
        await self._background.settled()
        info = workflow.info()
        grown = (
            info.is_continue_as_new_suggested()
            or info.get_current_history_length() >= CONTINUE_AT_EVENTS
            or info.get_current_history_size() >= CONTINUE_AT_BYTES
        )
        superseded = self.superseded()
        if not grown and not superseded:
            return
        if superseded:
            self._superseded_build = _build()
        await self._continue_as_new(info)
        if not info.is_continue_as_new_suggested():
            return
        # The last moment: a history without end is ended by Temporal.
        if workflow.patched("compact-before-too-long"):
            if not self._turn.under_way:  # nothing grows while it waits; the next turn begins here again
                return
            for _ in range(COMPACTIONS):
                if not await self._model_calls.compact_to_go_on():
                    break
                await self._continue_as_new(info)
        raise TurnFailed(
            f"The conversation is too long to go on ({self._too_long:,} bytes when packed; {RESUME_BYTES:,} can be "
            "carried). Start a new execution."
        )

    async def _continue_as_new(self, info: workflow.Info) -> None:
        """Continue as new, which does not return; return when the packed state is too large for a new run."""
        await self._trim()
        await self._quiet()
        # A state that did not fit only grows until messages are let go: packing it at each step would cost seconds.
        unchanged = self._too_long > 0 and self._begins == self._conversation.stored
        most = RESUME_BYTES - len(self._run.input.prompt)
        if unchanged and workflow.patched("pack-after-trim"):
            state, size = "", 0
        elif workflow.patched("pack-in-activity"):
            state, size = await self._pack(most)
        else:
            state = self.carried().pack()
            size = len(state)
        not_packed = not size and not unchanged
        if not_packed and info.is_continue_as_new_suggested():  # it cannot wait until an activity can pack it
            state = self.carried().pack()
            size = len(state)
        if state and size < most:
            # Of two versions of a deployment the new run belongs to the one that is current; nothing else to choose.
            versioning = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if _build() else None
            workflow.continue_as_new({**self._run.raw, "_resume": state}, initial_versioning_behavior=versioning)
        self._too_long, self._begins = max(self._too_long, size), self._conversation.stored

    async def _pack(self, most: int) -> tuple[str, int]:
        """Return the packed state and its size; an empty text when it is too large or could not be packed.

        An activity packs it, as that takes seconds. What comes in meanwhile would be lost: then it is packed again.
        """
        for _ in range(PACKINGS):
            state = self._state()
            base, tail = self._conversation.since_shown()
            call = calls.ModelInput(
                execution_id=self._run.execution_id,
                turn=self._turn.number,
                step=self._turn.step,
                message_id="",
                base=base,
                tail=tail,
                digest=self._conversation.digest(),
            )
            try:
                packed: calls.PackResult = await workflow.execute_activity(
                    names.PACK_STATE,
                    calls.PackInput(call, state, most),
                    result_type=calls.PackResult,
                    **options.PACK,
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                workflow.logger.warning("state.not_packed %s", activity_failures.cause_of(error))
                return "", 0
            await self._quiet()
            if self._state() == state:
                return packed.packed, packed.size
        return "", 0

    def _state(self) -> dict[str, Any]:
        """Return a copy of the state for the next run, without the messages of the conversation."""
        state = self.carried().wire()
        state["conversation"] = {k: v for k, v in state["conversation"].items() if k != "messages"}
        return copy.deepcopy(state)

    async def _trim(self) -> None:
        """Store the messages that a summary replaces at the control plane. If it takes them, drop them here."""
        replaced = self._conversation.outgrown()
        if not replaced or not workflow.patched("trim"):
            return
        if self._run.member is None:  # a member has no session: its events are what is kept
            stored = calls.SessionInput(
                self._run.execution_id,
                self._turn.number,
                replaced,
                self._conversation.stored,
                self._run.input.user_metadata.get("user_id"),
            )
            try:
                await self._run.call_control_plane(names.STORE_SESSION, stored)
            except activity_failures.LOCAL_FAILURE as error:
                if is_cancelled_exception(error):
                    raise
                workflow.logger.warning("session.refused %s", activity_failures.cause_of(error))
                return
        self._conversation.trim()

    async def _quiet(self) -> None:
        """Wait until nothing is under way: no signal to others, no server's start, no signal that is being handled."""
        await self._background.settled()
        await self._mcp_servers.started()
        await workflow.wait_condition(workflow.all_handlers_finished)

    def carried(self) -> Carried:
        """Return the state for the next run."""
        carried = Carried()
        for part in self._parts:
            part.carry(carried)
        return carried

    def resume(self, packed: str) -> None:
        """Take over the state of the run before."""
        saved = Carried.unpack(packed)
        for part in self._parts:
            part.restore(saved)

    def carry(self, into: Carried) -> None:
        into.left = self._superseded_build

    def restore(self, saved: Carried) -> None:
        self._superseded_build = saved.left


def _build() -> str:
    """Return the build id of the worker that runs the current task; empty without worker versioning."""
    version = workflow.info().get_current_deployment_version()
    return version.build_id if version and version.deployment_name else ""
