"""The steps of a worker are declared before their code is loaded, and wait for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kubiya_worker import activities
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.process import late_steps
from kubiya_worker.process.late_steps import LateSteps

RUNTIME: Any = SimpleNamespace()


def definition(function: Any) -> tuple[str, Any]:
    found = function.__temporal_activity_definition
    return found.name, found.arg_types


def test_what_is_declared_is_what_the_code_has() -> None:
    declared = LateSteps(lambda: RUNTIME).declared()
    assert sorted(map(definition, declared), key=repr) == sorted(map(definition, activities.build(RUNTIME)), key=repr)


def test_the_code_is_loaded_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def import_all() -> Any:
        made.append(1)
        return lambda runtime: []

    monkeypatch.setattr(late_steps, "_import_all", import_all)
    steps = LateSteps(lambda: RUNTIME)

    async def all_wait() -> list[Any]:
        cancelled = asyncio.create_task(steps.runtime())
        others = [asyncio.create_task(steps.runtime()) for _ in range(3)]
        await asyncio.sleep(0)
        cancelled.cancel()
        return await asyncio.gather(*others)

    assert asyncio.run(all_wait()) == [RUNTIME] * 3
    assert made == [1]


def test_code_that_cannot_be_loaded_ends_the_hold_and_is_told_to_each_who_asks() -> None:
    def make() -> Any:
        raise ConfigurationError("The price table is wrong", remedy="Mend it")

    async def ask() -> None:
        steps, polled = LateSteps(make), asyncio.Event()
        holding = asyncio.create_task(steps.hold(polled))
        polled.set()
        for waiting in (holding, steps.runtime()):
            with pytest.raises(ConfigurationError, match="price table"):
                await waiting
        await steps.close()

    asyncio.run(ask())
