"""These tests check that only workflows of extensions run in Temporal's sandbox, and none of ours."""

from __future__ import annotations

import inspect

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.worker import WorkflowInstanceDetails, _workflow
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox._runner import _fake_info as info

from kubiya_worker.process.assembly import WorkflowSandbox
from kubiya_worker.workflows import registry
from tests.support.extension_workflows import Derived, Own


def details(kind: type) -> WorkflowInstanceDetails:
    converter = DataConverter.default
    return WorkflowInstanceDetails(
        payload_converter_factory=converter._new_payload_converter,
        failure_converter_class=converter.failure_converter_class,
        interceptor_classes=[],
        defn=workflow._Definition.must_from_class(kind),
        info=info,
        randomness_seed=1,
        extern_functions={},
        disable_eager_activity_execution=False,
        worker_level_failure_exception_types=[],
        patch_activation_callback=None,
        last_completion_result=Payloads(),
        last_failure=Failure(),
    )


@pytest.mark.parametrize("kind", [*registry.WORKFLOWS, Own, Derived])
async def test_only_workflows_of_extensions_are_in_the_sandbox(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[type] = []
    create = SandboxedWorkflowRunner.create_instance

    def noted(runner: SandboxedWorkflowRunner, det: WorkflowInstanceDetails) -> object:
        made.append(det.defn.cls)
        return create(runner, det)

    monkeypatch.setattr(SandboxedWorkflowRunner, "create_instance", noted)
    sandbox = WorkflowSandbox()
    sandbox.prepare_workflow(workflow._Definition.must_from_class(kind))
    sandbox.create_instance(details(kind))
    assert made == ([] if kind in registry.WORKFLOWS else [kind, kind])


def test_the_sdk_still_has_the_limit_that_a_long_task_needs() -> None:
    """A version of the SDK without it needs another way to allow a task more than 2 s (assembly.allow_long_tasks)."""
    source = inspect.getsource(_workflow._WorkflowWorker)
    assert "self._deadlock_timeout_seconds = " in source and "wait_for(" in source
