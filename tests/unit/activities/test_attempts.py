"""Heartbeats of a step: they come while its body runs, with the details of that moment, and end with it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from kubiya_worker.activities import attempts


async def test_heartbeats_come_while_the_body_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "HEARTBEAT_EVERY", 0.01)
    told: list[Any] = []
    enough, again = asyncio.Event(), asyncio.Event()

    def heard(*details: Any) -> None:
        told.extend(details)
        if len(told) >= 3:
            enough.set()

    async def step() -> None:
        async with attempts.heartbeats(lambda: (len(told),)):
            await asyncio.wait_for(enough.wait(), 60)
        asyncio.get_running_loop().call_later(0.05, again.set)
        told.clear()
        await again.wait()

    environment = ActivityEnvironment()
    environment.on_heartbeat = heard
    before = asyncio.create_task(environment.run(step))
    await enough.wait()
    assert told[:3] == [0, 1, 2]
    await before
    assert told == []  # none after the body, for five times as long as from one to the next


async def test_a_quick_step_sends_none() -> None:
    told: list[Any] = []

    async def step() -> None:
        async with attempts.heartbeats():
            pass

    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: told.append(details)
    await environment.run(step)
    assert told == []
