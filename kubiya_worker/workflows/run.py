"""This module holds what one run of an execution knows of itself. Every part of the execution is given it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from temporalio import workflow

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import execution as ex
from kubiya_worker.workflows import durable_calls
from kubiya_worker.workflows.carried import Carried


class Run:
    """The input and the settings of a run, its status, and what people want of it.

    `input` is empty until the workflow starts, and there is no context until the execution has begun or is carried on:
    signals and queries can come earlier.
    """

    def __init__(self) -> None:
        self.input = ex.ExecutionInput(execution_id="", agent_id="", organization_id="", prompt="")
        self.raw: dict[str, Any] = {}  # the input as it came, less what is secret in it
        self.status = ex.PENDING
        self.error: str | None = None
        self.error_type: str | None = None  # the class of the fault that `error` tells
        self.refusal: str | None = None  # why the execution cannot run at all
        self.paused = False
        self.done = False  # a person has marked the execution as done
        self.tainted = False  # the model has read what others wrote; never unset
        # Whether a model call would wait for tools, as the worker of the last step has said. After a wait nobody knows,
        # and then the slots that only model calls have are the safe choice.
        self.crowded = True
        self._context: calls.Context | None = None
        self._pause_said = False  # a signal of this run has set `paused`; what an earlier run carried is older

    def start(self, raw: dict[str, Any]) -> None:
        """Read the input. Raise ValueError or TypeError when it is invalid."""
        self.input = ex.ExecutionInput.parse(raw)
        self.tainted = self.member.tainted if self.member else False

    @property
    def execution_id(self) -> str:
        return self.input.execution_id

    @property
    def member(self) -> ex.Member | None:
        """Return the team that has asked for this run; None for a run that people see as an execution."""
        return self.input.member

    @property
    def context(self) -> calls.Context:
        assert self._context is not None, "the execution has not begun"
        return self._context

    @context.setter
    def context(self, context: calls.Context) -> None:
        self._context = context

    @property
    def context_or_none(self) -> calls.Context | None:
        return self._context

    @property
    def published(self) -> bool:
        """Return True when the control plane is not ours.

        Then the stream shows a limited number of events, and clients learn of the end from how the workflow closes.
        """
        return self._context is not None and self._context.published

    def pause(self) -> None:
        self.paused = self._pause_said = True

    def resume(self) -> None:
        self.paused, self._pause_said = False, True

    async def unpaused(self) -> None:
        """Wait until nobody wants the execution to pause, or until it is marked as done."""
        await workflow.wait_condition(lambda: not self.paused or self.done)

    async def call_control_plane(self, name: str, argument: Any, *, result_type: type | None = None) -> Any:
        """Call an activity that talks to the control plane, until it succeeds or is refused."""
        stream = self.member.stream if self.member else self.execution_id
        return await durable_calls.call(name, argument, self.execution_id, stream=stream, result_type=result_type)

    def carry(self, into: Carried) -> None:
        into.context = asdict(self.context)
        into.status, into.error, into.error_type = self.status, self.error, self.error_type
        into.paused, into.done, into.tainted = self.paused, self.done, self.tainted

    def restore(self, saved: Carried) -> None:
        self._context = calls.Context.restore(saved.context)
        self.status, self.error, self.error_type = saved.status, saved.error, saved.error_type
        self.tainted = self.tainted or saved.tainted
        # A signal that came first counts: pause, resume and done are not undone by older state.
        self.done = self.done or saved.done
        if not self._pause_said:
            self.paused = saved.paused
