"""A step that cannot import what it needs is tried again, and the worker says that it must be restarted."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from kubiya_worker.process.import_faults import ImportFaults
from kubiya_worker.process.preload import load
from kubiya_worker.protocol import names


class Step(ActivityInboundInterceptor):
    """This step raises its error."""

    def __init__(self, error: Exception, cause: Exception | None = None) -> None:
        self._error, self._cause = error, cause

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        raise self._error from self._cause


async def raised(faults: ImportFaults, step: Step, kind: str = names.CALL_MODEL) -> Exception:
    environment = ActivityEnvironment()
    environment.info = environment.default_info()
    environment.info = type(environment.info)(**{**vars(environment.info), "activity_type": kind})
    watching = faults.intercept_activity(step)

    async def run() -> None:
        await watching.execute_activity(ExecuteActivityInput(fn=lambda: None, args=[], executor=None, headers={}))

    with pytest.raises(Exception) as caught:
        await environment.run(run)
    return caught.value


async def test_an_import_error_is_a_passing_fault_and_is_told_once() -> None:
    faults, told = ImportFaults(), list[str]()
    faults.on_first = lambda: told.append(faults.text)
    for _ in range(2):
        error = await raised(faults, Step(ModuleNotFoundError("No module named 'openai'")))
        assert isinstance(error, ApplicationError)
        assert (error.type, error.non_retryable) == (names.MUST_RESTART, False)
    assert told == ["ModuleNotFoundError: No module named 'openai'"]


async def test_one_after_the_tool_ran_is_told_and_stays_final() -> None:
    faults = ImportFaults()
    kept = ApplicationError("no module", type=names.NOT_STORED, non_retryable=True)
    assert await raised(faults, Step(kept, ImportError("no module")), names.CALL_TOOL) is kept
    assert faults.text == "ImportError: no module"


@pytest.mark.parametrize("step", [Step(ValueError("x")), Step(ApplicationError("x"))])
async def test_other_errors_are_none(step: Step) -> None:
    faults = ImportFaults()
    await raised(faults, step)
    assert not faults.text


async def test_an_extension_that_cannot_import_is_its_own_fault() -> None:
    faults = ImportFaults()
    assert isinstance(await raised(faults, Step(ImportError("x")), "own_activity"), ImportError)
    assert not faults.text


def test_what_cannot_be_loaded_is_told_and_the_rest_is_loaded() -> None:
    assert load(["no_such_module", "json"]) == ["no_such_module: ModuleNotFoundError: No module named 'no_such_module'"]
