"""The runtime holds the worker's objects that activities need. It is built once and passed to all of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus

from kubiya_worker.activities.authority import Authorities
from kubiya_worker.activities.early_contexts import EarlyContexts
from kubiya_worker.activities.event_handover import EventHandover
from kubiya_worker.activities.event_queue import EventQueue
from kubiya_worker.activities.event_sender import EventSender
from kubiya_worker.activities.execution_memory import ExecutionMemory, Recent
from kubiya_worker.activities.in_flight import InFlight
from kubiya_worker.activities.outage import Waiting
from kubiya_worker.activities.pacing import EventPacing
from kubiya_worker.activities.predecessors import Predecessors
from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.activities.run_files import RunFileCopies
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.delivery import Delivery
from kubiya_worker.control_plane.direct import DirectConnections
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.models import Models
from kubiya_worker.protocol import names
from kubiya_worker.protocol.calls import Context, ModelInput, ServerInput, ToolInput
from kubiya_worker.protocol.streams import RunStream
from kubiya_worker.recording import Recording, RecordingFile
from kubiya_worker.tools.mcp.pool import LIMIT, SessionPool
from kubiya_worker.tools.policy.enforcer import Enforcer
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.redaction import Redactor
from kubiya_worker.tools.workspace_files import CopyLimits


@dataclass
class Runtime:
    """The runtime of a worker. `secrets` must never leave this process (API key, Temporal key, model keys).

    `longest_call`: seconds after which any tool call is ended; None leaves it to each tool.
    """

    control_plane: ControlPlane
    temporal: Client
    models: Models
    workspace_root: Path
    worker_id: str
    hostname: str = ""
    secrets: Sequence[str] = ()
    longest_call: float | None = None
    spool: Spool = field(default_factory=Spool)
    in_flight: InFlight = field(default_factory=InFlight)
    memory: ExecutionMemory = field(default_factory=ExecutionMemory)
    workflows: Recent[str] = field(default_factory=lambda: Recent(4096))  # workflow ids of executions seen here
    mcp_max_sessions: int = LIMIT
    file_limits: CopyLimits = field(default_factory=CopyLimits)  # of the files of a run that are copied
    rules: Sequence[Mapping[str, Any]] = ()  # this host's rules, in addition to those of the control plane
    task_queue: str = ""
    model_queue: str = ""  # where model calls have slots of their own; empty: they have none
    crowded: Callable[[], bool] = lambda: False  # whether tools hold all slots of the worker's own queue
    enforcer: Enforcer | None = None  # the external policy service; None: there is none
    recording: RecordingFile | None = None  # a recorded run whose tools are played; None: tools run
    long_commands: Path | None = None  # the folder of commands that outlive this worker

    @cached_property
    def mcp(self) -> SessionPool:
        return SessionPool(limit=self.mcp_max_sessions, over=self.is_over)

    async def is_over(self, execution_id: str) -> bool:
        """Ask Temporal whether an execution has ended. One that was terminated or ended elsewhere tells no one."""
        workflow_id = self.workflows.get(execution_id)
        if workflow_id is None:
            return False
        description = await self.temporal.get_workflow_handle(workflow_id).describe()
        return description.status is not WorkflowExecutionStatus.RUNNING

    @cached_property
    def files(self) -> RunFileCopies:
        return RunFileCopies(self.control_plane, self.file_limits)

    @cached_property
    def authorities(self) -> Authorities:
        return Authorities(self.control_plane)

    @cached_property
    def direct(self) -> DirectConnections | None:
        """Return connections that need no thread; None where TLS or a proxy is on the way."""
        return self.control_plane.directly()

    @cached_property
    def early_contexts(self) -> EarlyContexts:
        return EarlyContexts(self._context_directly)

    async def _context_directly(self, execution_id: str) -> dict[str, Any] | None:
        """Return an execution's context as the event loop reads it; None where it has to be read in another way."""
        if self.direct is None:
            return None
        return await self.control_plane.contexts.directly(self.direct, execution_id)

    @cached_property
    def writer(self) -> Writer:
        return Writer(self.control_plane, self.direct)

    @cached_property
    def delivery(self) -> Delivery:
        return Delivery(self.control_plane, self.writer)

    @cached_property
    def waiting(self) -> Waiting:
        return Waiting(self.control_plane, self.spool, self.temporal)

    @cached_property
    def redactor(self) -> Redactor:
        return Redactor(self.secrets)

    async def close(self) -> None:
        """Close the connections to models, MCP servers and the policy service, and end what tools have started."""
        closing = [self.models.close(), self.mcp.close(), self.waiting.close(), self.files.close()]
        if self.enforcer is not None:
            closing.append(self.enforcer.close())
        await asyncio.gather(*closing)
        await self.in_flight.close()
        if "writer" in vars(self):  # else nothing was written
            self.writer.close()
        # Else the supervisor finds it for a moment after the worker's end, and warns of what was left behind.
        await asyncio.to_thread(programs.close)

    def played_tools(self) -> Recording | None:
        """Return the recording whose results stand for tools; None where tools run. Raises ConfigurationError."""
        played = self.recording.now() if self.recording else None
        return played if played and played.plays_tools else None

    def publisher(self, call: ModelInput | ToolInput | ServerInput, context: Context) -> Publisher:
        """Return the publisher for the events of one step."""
        stream = RunStream(call.execution_id, context.member)
        queue = EventQueue(call.behind, None if call.pieces is None else EventPacing(call.pieces, call.sparing))
        predecessors = Predecessors(stream.id, call.behind, self.in_flight, lambda: self._send_missing(stream))
        sender = EventSender(self.writer, stream, queue, predecessors, self.spool)
        handover = EventHandover(stream, self.spool, self.in_flight, predecessors, hold=call.hold)
        return Publisher(queue, sender, handover)

    def may_leave_events(self, call: ModelInput | ToolInput) -> bool:
        """Return whether a step may end before its last events have arrived: both sides have to know of that."""
        return call.leave and call.pieces is None and names.FEATURE_BATCH_GROUPS in self.control_plane.features

    async def _send_missing(self, stream: RunStream) -> None:
        """Send the events that a worker, which may be gone, had not sent when it ended its step."""
        about = activity.info()
        assert about.workflow_id is not None
        workflow = self.temporal.get_workflow_handle(about.workflow_id, run_id=about.workflow_run_id)
        missing: dict[str, list[Any]] = await workflow.query(names.GET_UNCONFIRMED, result_type=dict)
        await self.in_flight.confirm(self.writer, stream, missing)

    def redactor_of(self, execution_id: str) -> Redactor:
        """Return the execution's redactor, or the worker's own while the execution's secrets are not known here."""
        return self.memory.redactors.get(execution_id) or self.redactor

    def copy_files(self, execution_id: str) -> None:
        """Begin to copy the files of an execution to the control plane, without waiting for it.

        A folder that an agent's `cwd` names belongs to the host, and others change it: nothing of it is copied. Nor is
        anything while the secrets of the execution are not known here, since they could be in a file.
        """
        context, redactor = self.memory.contexts.get(execution_id), self.memory.redactors.get(execution_id)
        if context is None or redactor is None or context.workspace or not self.files.wanted:
            return
        workspace = workspace_of(self, execution_id, context)
        if workspace.is_dir():
            self.files.begin(RunStream(execution_id, context.member).id, workspace, redactor)

    def forget(self, execution_id: str) -> None:
        """Drop what is kept of an execution that is over."""
        self.memory.forget(execution_id)
        self.mcp.release(execution_id)
        if "writer" in vars(self):  # else nothing was written
            self.writer.forget(execution_id)


def workspace_of(runtime: Runtime, execution_id: str, context: Context) -> Path:
    """Return an execution's folder: the agent's `cwd`, or one below the worker's root; a team shares one."""
    if context.workspace:
        return Path(context.workspace).expanduser()
    stream = RunStream(execution_id, context.member)
    return runtime.workspace_root / re.sub(r"[^A-Za-z0-9._-]", "_", stream.id)[:200]
