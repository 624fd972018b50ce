"""This module is Temporal's sandbox for workflow code without a costly answer that our converters do not need.

For every payload of a workflow task the SDK asks the workflow for a serialization context, and the sandbox compiles and
runs a snippet to answer: a seventh of the worker's cost of an execution. Only a converter, codec or storage that reads
the context needs the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.converter import StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import Info

from kubiya_worker.workflows import registry


class Sandbox(WorkflowRunner):
    """Run workflows in Temporal's sandbox; our stateless modules are shared, and all others are loaded for each run.

    `contexts` says whether the client's data converter reads serialization or storage contexts.
    """

    def __init__(self, *, contexts: bool = False) -> None:
        restrictions = SandboxRestrictions.default.with_passthrough_modules(*registry.SHARED)
        self._inner = SandboxedWorkflowRunner(restrictions=restrictions)
        self._contexts = contexts

    def prepare_workflow(self, defn: Any) -> None:
        self._inner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._inner.create_instance(det)
        return instance if self._contexts else _WithoutContexts(instance)

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        self._inner.set_worker_level_failure_exception_types(types)


class _WithoutContexts(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        self._nowhere = StorageDriverStoreContext(target=None)

    def activate(self, act: Any) -> Any:
        return self._instance.activate(act)

    def get_serialization_context(self, command_info: Any) -> None:
        return None

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        return self._nowhere

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
