"""The context of an execution is asked for once, before its first step or by it."""

from __future__ import annotations

import asyncio
from typing import Any

from kubiya_worker.activities.early_contexts import LIMIT, STALE, EarlyContexts


class ControlPlane:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = asyncio.Event()

    async def read(self, execution_id: str) -> dict[str, Any] | None:
        self.asked.append(execution_id)
        await self.answer.wait()
        return {"execution": execution_id, "number": len(self.asked)}


async def test_what_was_asked_before_is_not_asked_again() -> None:
    now = [10.0]
    plane = ControlPlane()
    contexts = EarlyContexts(plane.read, lambda: now[0])
    contexts.ask("a")
    plane.answer.set()
    now[0] += STALE
    assert await contexts.take("a") == (10.0, {"execution": "a", "number": 1})
    assert plane.asked == ["a"]


async def test_the_step_asks_itself_where_nobody_has_or_the_answer_is_old_or_was_taken() -> None:
    now = [10.0]
    plane = ControlPlane()
    plane.answer.set()
    contexts = EarlyContexts(plane.read, lambda: now[0])
    assert (await contexts.take("a"))[0] == 10.0
    contexts.ask("a")
    now[0] += STALE + 0.1
    assert await contexts.take("a") == (now[0], {"execution": "a", "number": 3})
    assert (await contexts.take("a"))[1] == {"execution": "a", "number": 4}


async def test_executions_that_fail_before_their_first_step_are_forgotten() -> None:
    plane = ControlPlane()
    plane.answer.set()
    contexts = EarlyContexts(plane.read)
    for number in range(LIMIT + 1):
        contexts.ask(str(number))
    await contexts.take(str(LIMIT))
    assert len(plane.asked) == LIMIT + 1
    await contexts.take("0")
    assert plane.asked[-1] == "0"
