"""Temporal, as the control plane uses it: start, signal, cancel, terminate, describe workflows by name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kubiya_worker.protocol import names

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowHandle


class TemporalDown(Exception):
    """Temporal does not answer; the text says why."""


class Temporal:
    """Connects at the first use, and again after a failure: the control plane serves while Temporal is away."""

    def __init__(self, address: str, namespace: str) -> None:
        self.address, self.namespace = address, namespace
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def client(self) -> Client:
        async with self._connecting:
            if self._client is None:
                client_class = (await asyncio.to_thread(_load)).Client
                try:
                    self._client = await client_class.connect(self.address, namespace=self.namespace)
                except RuntimeError as error:
                    raise TemporalDown(f"Temporal at {self.address} cannot be reached") from error
            return self._client

    async def ready(self) -> bool:
        try:
            await (await self.client()).service_client.check_health()
        except Exception:
            return False
        return True

    async def handle(self, execution: dict[str, Any]) -> WorkflowHandle[Any, Any]:
        return (await self.client()).get_workflow_handle(
            names.workflow_id(execution["execution_type"], execution["id"])
        )

    async def start(self, execution: dict[str, Any], workflow_input: dict[str, Any]) -> None:
        """Start the workflow; one that is there already is as good."""
        from temporalio.common import WorkflowIDReusePolicy
        from temporalio.exceptions import WorkflowAlreadyStartedError

        kinds = {"team": names.TEAM_WORKFLOW, "dynamic": names.DYNAMIC_WORKFLOW}
        try:
            await (await self.client()).start_workflow(
                kinds.get(execution["execution_type"], names.AGENT_WORKFLOW),
                workflow_input,
                id=names.workflow_id(execution["execution_type"], execution["id"]),
                task_queue=execution["queue_id"],
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )
        except WorkflowAlreadyStartedError:
            return
        except Exception as error:
            raise TemporalDown(str(error)) from error

    async def signal(self, execution: dict[str, Any], name: str, *args: Any) -> None:
        """Raises LookupError when the workflow is not there or is over, TemporalDown when nobody answers."""
        await self._ask((await self.handle(execution)).signal(name, args=list(args)))

    async def cancel(self, execution: dict[str, Any]) -> None:
        await self._ask((await self.handle(execution)).cancel())

    async def terminate(self, execution: dict[str, Any], reason: str) -> None:
        await self._ask((await self.handle(execution)).terminate(reason=reason))

    async def query(self, execution: dict[str, Any], name: str) -> Any:
        return await self._ask((await self.handle(execution)).query(name))

    async def closed_as(self, execution: dict[str, Any]) -> str | None:
        """How the workflow ended (COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT); None while it runs."""
        description = await self._ask((await self.handle(execution)).describe())
        status = description.status.name if description.status else "RUNNING"
        return None if status in ("RUNNING", "CONTINUED_AS_NEW") else status

    async def _ask(self, call: Any) -> Any:
        from temporalio.service import RPCError, RPCStatusCode

        try:
            return await call
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise LookupError(error.message) from error
            raise TemporalDown(error.message) from error


def _load() -> Any:
    import temporalio.client

    return temporalio.client
