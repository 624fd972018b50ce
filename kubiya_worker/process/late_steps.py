"""The steps of a worker, whose code is loaded once the worker polls, so that its start does not wait for it.

Temporal gets activities that are only declared: their names and the types of their inputs. The first one that runs
waits for the code, if nobody has loaded it yet.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from kubiya_worker.import_lock import IMPORTS
from kubiya_worker.protocol import calls, names

if TYPE_CHECKING:
    from kubiya_worker.activities import Runtime

Step = Callable[[Any], Awaitable[Any]]

CODE: Final = ("kubiya_worker.process.runtime", "kubiya_worker.activities.error_redaction")
# The activities and what each of them takes, as `activities.build` has them.
TAKES: Final[Mapping[str, type]] = {
    names.CALL_MODEL: calls.ModelInput,
    names.COMPACT: calls.CompactInput,
    names.CALL_TOOL: calls.ToolInput,
    names.START_SERVER: calls.ServerInput,
    names.PACK_STATE: calls.PackInput,
    names.BEGIN_EXECUTION: calls.BeginInput,
    names.STORE_SESSION: calls.SessionInput,
    names.END_TURN: calls.TurnInput,
    names.REQUEST_APPROVAL: calls.ApprovalInput,
    names.CHECK_APPROVAL: str,
    names.AWAIT_APPROVAL: str,
    names.REPORT: calls.ReportInput,
    names.END_EXECUTION: calls.ReportInput,
    names.END_MEMBER: calls.MemberEnd,
    names.AWAIT_CONTROL_PLANE: calls.Outage,
    names.CREATE_JOB_EXECUTION: calls.JobExecution,
    names.END_JOB_EXECUTION: calls.JobEnd,
    names.TRY_OUT: calls.Trial,
    names.FIND_HOST: str,
}


class LateSteps(Interceptor):
    """The steps, and the interceptor that has each activity wait for them. It has to be the outermost one.

    `make` makes the runtime, on the event loop; the code that it imports has been imported then.
    """

    def __init__(self, make: Callable[[], Runtime]) -> None:
        self._make = make
        self._runtime: Runtime | None = None
        self._code: dict[str, Step] = {}
        self._loading: asyncio.Task[None] | None = None

    def declared(self) -> list[Callable[..., Any]]:
        """Return all activities of a worker, ready for `temporalio.worker.Worker(activities=…)`."""
        return [self._declared(name, takes) for name, takes in TAKES.items()]

    def _declared(self, name: str, takes: type) -> Callable[..., Any]:
        async def step(given: Any) -> Any:
            return await self._code[name](given)

        step.__annotations__ = {"given": takes, "return": Any}
        return activity.defn(name=name)(step)

    async def runtime(self) -> Runtime:
        """Return the runtime, and load the code of the steps for the first one who asks. Raises what that raises."""
        if self._runtime is None:
            if self._loading is None:
                self._loading = asyncio.create_task(self._load())
            await asyncio.shield(self._loading)  # others wait for it too, so a cancelled step must not end it
        assert self._runtime is not None
        return self._runtime

    async def _load(self) -> None:
        self._use(await asyncio.to_thread(_import_all))

    def load_now(self) -> None:
        """Load the code before the first poll, where a file of the settings may be wrong. Raises WorkerError."""
        self._use(_import_all())

    def _use(self, build: Callable[[Runtime], list[Callable[..., Any]]]) -> None:
        runtime = self._make()
        self._code = {activity_name(step): step for step in build(runtime)}
        self._runtime = runtime

    async def hold(self, polled: asyncio.Event) -> NoReturn:
        """Load the code after the first poll, and go on until cancelled. Raises what keeps the code from loading."""
        await polled.wait()
        await self.runtime()
        while True:
            await asyncio.Event().wait()

    def expect(self, execution_id: str) -> None:
        """Prepare for an execution whose first step comes next."""
        if self._runtime is not None and self._runtime.direct is not None:
            self._runtime.early_contexts.ask(execution_id)

    async def close(self) -> None:
        """Close what the steps have opened."""
        if self._runtime is not None:
            await self._runtime.close()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _UntilLoaded(next, self)


class _UntilLoaded(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, steps: LateSteps) -> None:
        super().__init__(next)
        self._steps = steps
        self._scrubbed: ActivityInboundInterceptor | None = None

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if self._scrubbed is None:
            try:
                runtime = await self._steps.runtime()
            except ImportError as error:  # the worker ends with it, and another one takes the step
                raise ApplicationError(
                    f"The worker has to be restarted: {type(error).__name__}: {error}", type=names.MUST_RESTART
                ) from error
            from kubiya_worker.activities.error_redaction import Scrub  # loaded by now

            self._scrubbed = Scrub(runtime).intercept_activity(self.next)
        return await self._scrubbed.execute_activity(input)


def activity_name(function: Callable[..., Any]) -> str:
    """Return the name under which Temporal knows an activity."""
    return str(getattr(function, "__temporal_activity_definition").name)


def _import_all() -> Callable[[Runtime], list[Callable[..., Any]]]:
    with IMPORTS:
        for module in CODE:
            importlib.import_module(module)
        from kubiya_worker import activities

        return activities.build
