"""This module is the control plane's Temporal client: it starts, signals, ends and describes workflows."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kubiya_worker.errors import WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.payloads.options import PayloadOptions
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names, search
from kubiya_worker.server import search_attributes
from kubiya_worker.server.temporal_access import TemporalAccess
from kubiya_worker.server.temporal_outage import TemporalOutage
from kubiya_worker.temporal_connection import core_log
from kubiya_worker.temporal_connection.cluster import cluster_id
from kubiya_worker.temporal_connection.faults import examine
from kubiya_worker.temporal_connection.options import arguments, tunnel_to

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowHandle
    from temporalio.runtime import Runtime
    from temporalio.service import RPCError

T = TypeVar("T")

log = EventLogger(__name__)

TIMEOUT: Final = timedelta(seconds=10)  # of a start, signal, cancel or describe
CONNECT: Final = 5.0  # seconds
QUERY: Final = timedelta(seconds=3)  # a query needs a live worker, and there may be none
SEARCHABLE_AGE: Final = 60.0  # seconds
TRIAL: Final = timedelta(seconds=120)  # of a test, from its start to its answer
LOOK: Final = 1.5  # seconds: a request for information must not wait longer, however often the SDK tries
OPEN: Final = ("RUNNING", "CONTINUED_AS_NEW", "PAUSED")  # statuses of a workflow that has not closed
MEMO: Final = "sequel"  # of a workflow: how often its execution has gone on after its end
KINDS: Final = {"team": names.TEAM_WORKFLOW, "dynamic": names.DYNAMIC_WORKFLOW}


class TemporalDown(Exception):
    """Temporal does not answer; the text says why."""


class StillRuns(Exception):
    """The workflow of an execution that is to go on has not closed yet."""


class NotDone(Exception):
    """A workflow whose answer is waited for did not give one; the text says why."""


class RefusedByTemporal(Exception):
    """Temporal refuses the request, and would refuse it again."""


@dataclass(frozen=True)
class Workflow:
    """The workflow that runs an execution."""

    execution_id: str
    execution_type: str
    queue_id: str

    @property
    def id(self) -> str:
        return names.workflow_id(self.execution_type, self.execution_id)


@dataclass(frozen=True)
class End:
    """The end of a workflow: an execution's final status, with its response, error and usage."""

    status: str
    response: str | None = None
    error: str | None = None
    usage: dict[str, Any] | None = None


def end_of(result: Any) -> End:
    """Return the end that the workflow's own result describes (docs/protocol.md#b5). Pure."""
    outcome: dict[str, Any] = result if isinstance(result, dict) else {}
    status = str(outcome.get("status") or ex.COMPLETED).lower()
    error = outcome.get("error") or outcome.get("error_message")
    return End(
        status if ex.is_final(status) else ex.COMPLETED,
        response=outcome.get("response"),
        error=str(error) if error else None,
        usage=outcome.get("usage"),
    )


class Temporal:
    """Connect at the first use, and again after a failure, so that the control plane serves while Temporal is away."""

    def __init__(self, access: TemporalAccess, payloads: Payloads | None = None) -> None:
        self.access = access
        self.payloads = payloads or Payloads.open(PayloadOptions())
        self.outage = TemporalOutage(access.address)
        self.why = ""  # the reason why the last connection failed
        self.cluster_id = ""  # empty before the first connection, and where the server does not tell
        self._searchable: frozenset[str] = frozenset()
        self._looked = -math.inf  # when the namespace was asked for them
        self._looking: asyncio.Task[None] | None = None  # a task that nobody holds may be collected while it runs
        self._client: Client | None = None
        self._runtime: Runtime | None = None
        self._connecting = asyncio.Lock()

    async def client(self) -> Client:
        async with self._connecting:
            if self._client is not None:
                return self._client
            client_class = (await asyncio.to_thread(_load)).Client
            self._runtime = self._runtime or _runtime()
            access = self.access
            try:
                tls = access.tls()
                tunnel = tunnel_to(access.address, tls=bool(tls))
                secured = arguments(tls, tunnel, access.key())
            except WorkerError as error:  # a file that went away since the start
                raise TemporalDown(error.line()) from error
            try:
                connecting = client_class.connect(
                    access.address,
                    namespace=access.namespace,
                    data_converter=self.payloads.converter(),
                    runtime=self._runtime,
                    **secured,
                )
                client: Client = await asyncio.wait_for(connecting, CONNECT)
            except (RuntimeError, TimeoutError, ValueError) as error:
                fault = await asyncio.to_thread(examine, access.address, tls, tunnel)
                reason = (
                    f"{fault.message}. {fault.remedy}" if fault else f"Temporal at {access.address} does not answer"
                )
                self.why = reason
                raise TemporalDown(reason) from error
            self._client, self.why = client, ""
            self.cluster_id = await cluster_id(client)
            self._looked = time.monotonic()
            await self._look(client)
            return client

    def down(self, error: RPCError) -> TemporalDown:
        """Return the failure to raise. A key that is refused may have been replaced: the next call reads it again."""
        from temporalio.service import RPCStatusCode

        if error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED):
            self._client = None
        return TemporalDown(error.message)

    async def ready(self) -> bool:
        try:
            await (await self.client()).service_client.check_health(timeout=QUERY)
        except Exception:
            return False
        return True

    async def _handle(self, workflow: Workflow) -> WorkflowHandle[Any, Any]:
        return (await self.client()).get_workflow_handle(workflow.id)

    async def has_begun(self, workflow: Workflow, sequel: int) -> bool:
        """Return whether the workflow has gone on already for the time number `sequel`.

        Raise StillRuns while a run before that one has not closed, TemporalDown when nobody answers.
        """
        try:
            described = await self.ask((await self._handle(workflow)).describe(rpc_timeout=TIMEOUT))
            number = int(await self.ask(described.memo_value(MEMO, 0)))
        except LookupError:
            return False  # it never began, or Temporal has forgotten it
        except WorkerError as error:  # the memo cannot be read
            raise TemporalDown(error.line()) from error
        if number >= sequel:
            return True
        if described.status is None or described.status.name in OPEN:
            raise StillRuns(workflow.id)
        return False

    async def start(
        self,
        workflow: Workflow,
        argument: dict[str, Any],
        priority: int | None = None,
        sequel: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Start a workflow; a second start changes nothing. Raise TemporalDown or RefusedByTemporal.

        `sequel`: the execution has ended before and goes on for the time of this number; ask `has_begun` first. Raise
        StillRuns when another run of it is there. `labels` are its search attributes, which the namespace has to know.
        """
        client = await self.client()
        from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
        from temporalio.common import WorkflowIDReusePolicy as reuse
        from temporalio.exceptions import WorkflowAlreadyStartedError
        from temporalio.service import RPCError, RPCStatusCode

        pairs = [SearchAttributePair(SearchAttributeKey.for_keyword(n), v) for n, v in (labels or {}).items()]
        try:
            await client.start_workflow(
                KINDS.get(workflow.execution_type, names.AGENT_WORKFLOW),
                argument,
                id=workflow.id,
                task_queue=workflow.queue_id,
                id_reuse_policy=reuse.ALLOW_DUPLICATE if sequel else reuse.REJECT_DUPLICATE,
                memo={MEMO: sequel} if sequel else None,  # a run that continues as new has it too
                priority=Priority(priority_key=priority),  # its activities have it too
                search_attributes=TypedSearchAttributes(pairs) if pairs else None,
                rpc_timeout=TIMEOUT,
            )
        except WorkflowAlreadyStartedError as error:
            if sequel:
                raise StillRuns(workflow.id) from error
        except RPCError as error:
            if error.status == RPCStatusCode.INVALID_ARGUMENT:
                if pairs:  # an attribute may have been removed meanwhile, which must not fail a run
                    self._searchable, self._looked = frozenset(), time.monotonic()
                    without = {name: value for name, value in argument.items() if name != search.SHOWS_STATUS}
                    return await self.start(workflow, without, priority, sequel)
                raise RefusedByTemporal(error.message) from error
            raise self.down(error) from error

    async def searchable(self) -> frozenset[str]:
        """Return our search attributes that the namespace knows, as of about a minute ago. Raises TemporalDown."""
        client = await self.client()
        if time.monotonic() - self._looked > SEARCHABLE_AGE:
            self._looked = time.monotonic()  # first, so that many starts at once ask once
            self._looking = asyncio.create_task(self._look(client))  # beside the start, which must not wait for it
        return self._searchable

    async def _look(self, client: Client) -> None:
        self._searchable = await search_attributes.known(client)

    async def signal(self, workflow: Workflow, name: str, *args: Any) -> None:
        """Send a signal; raise LookupError when the workflow is unknown or over, TemporalDown when nobody answers."""
        await self.ask((await self._handle(workflow)).signal(name, args=list(args), rpc_timeout=TIMEOUT))

    async def cancel(self, workflow: Workflow) -> None:
        await self.ask((await self._handle(workflow)).cancel(rpc_timeout=TIMEOUT))

    async def terminate(self, workflow: Workflow, reason: str) -> None:
        await self.ask((await self._handle(workflow)).terminate(reason=reason, rpc_timeout=TIMEOUT))

    async def query(self, workflow: Workflow, name: str) -> Any:
        from temporalio.client import WorkflowQueryFailedError

        try:
            return await self.ask((await self._handle(workflow)).query(name, rpc_timeout=QUERY))
        except WorkflowQueryFailedError as error:
            raise TemporalDown(str(error)) from error
        except WorkerError as error:  # the payload cannot be read
            raise TemporalDown(error.line()) from error

    async def describe(self, workflow: Workflow) -> dict[str, Any]:
        described = await self.ask((await self._handle(workflow)).describe(rpc_timeout=TIMEOUT))
        times = {"start_time": described.start_time, "close_time": described.close_time}
        return {
            "workflow_id": described.id,
            "run_id": described.run_id,
            "workflow_type": described.workflow_type,
            "status": described.status.name if described.status else "RUNNING",
            "task_queue": described.task_queue,
            "history_length": described.history_length,
            **{name: time.isoformat() if time else None for name, time in times.items()},
        }

    async def retention_days(self) -> float | None:
        """Return for how many days Temporal keeps a closed workflow; None when it does not tell."""
        from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
        from temporalio.service import RPCError

        try:
            client = await self.client()
            request = DescribeNamespaceRequest(namespace=client.namespace)
            namespace = await client.workflow_service.describe_namespace(request, timeout=QUERY)
        except (RPCError, TemporalDown):
            return None
        return namespace.config.workflow_execution_retention_ttl.ToTimedelta() / timedelta(days=1) or None

    async def end(self, workflow: Workflow) -> End | None:
        """Return how the workflow ended, or None while it runs; raise LookupError when Temporal does not know it."""
        handle = await self._handle(workflow)
        described = await self.ask(handle.describe(rpc_timeout=TIMEOUT))
        status = described.status.name if described.status else "RUNNING"
        if status in OPEN:
            return None
        if status == "CANCELED":
            return End(ex.CANCELLED, error="The workflow was cancelled")
        if status == "TERMINATED":
            return End(ex.CANCELLED, error="The workflow was terminated")
        if status == "TIMED_OUT":
            return End(ex.FAILED, error="The workflow took longer than it may")
        return await self._result(handle)

    async def _result(self, handle: WorkflowHandle[Any, Any]) -> End | None:
        from temporalio.client import WorkflowFailureError

        try:
            return end_of(await self.ask(handle.result(rpc_timeout=TIMEOUT)))
        except WorkerError as error:
            log.warning("workflow.unreadable", workflow_id=handle.id, error=error.line())
            return None  # a later check may have the key to read it
        except WorkflowFailureError as error:
            return End(ex.FAILED, error=str(getattr(error.cause, "message", None) or error.cause))

    async def trial(self, workflow_id: str, queue_id: str, argument: dict[str, Any]) -> dict[str, Any]:
        """Let a worker of the queue make a test, and return its outcome; raise TemporalDown or NotDone."""
        client = await self.client()
        from temporalio.client import WorkflowFailureError
        from temporalio.exceptions import ActivityError, TimeoutError, TimeoutType

        starting = client.start_workflow(
            names.TRIAL_WORKFLOW,
            argument,
            id=workflow_id,
            task_queue=queue_id,
            execution_timeout=TRIAL,
            rpc_timeout=TIMEOUT,
        )
        handle = await self.ask(starting)
        try:
            outcome = await self.ask(handle.result())
        except WorkflowFailureError as error:
            cause = error.cause.cause if isinstance(error.cause, ActivityError) else error.cause
            if isinstance(cause, TimeoutError):
                unheard = cause.type == TimeoutType.SCHEDULE_TO_START
                raise NotDone("no worker had a free slot for it" if unheard else "it took too long") from error
            raise NotDone(str(getattr(cause, "message", None) or cause)) from error
        except WorkerError as error:  # the payload cannot be read
            raise NotDone(error.line()) from error
        return dict(outcome)

    async def ask(self, call: Awaitable[T]) -> T:
        """Await a call to Temporal. Raise LookupError for what is not there, TemporalDown for any other failure."""
        from temporalio.service import RPCError, RPCStatusCode

        try:
            return await call
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise LookupError(error.message) from error
            raise self.down(error) from error


def _runtime() -> Runtime:
    """Return a runtime whose lines go to the log of this process; one is enough, however often it connects."""
    from temporalio.runtime import Runtime, TelemetryConfig

    return Runtime(telemetry=TelemetryConfig(logging=core_log.config()))


def _load() -> Any:
    import temporalio.client

    return temporalio.client
