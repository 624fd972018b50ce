"""A tool that raises anything, or does not end, costs its call and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.custom import FunctionTool, spec_of
from kubiya_worker.tools.isolation import TEXT, ToolBroke, error_text, run_isolated


class Odd(BaseException):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Endless(Exception):
    def __repr__(self) -> str:
        raise RecursionError

    __str__ = __repr__


RAISED = [
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError("mine"),
    GeneratorExit(),
    BaseException("base"),
    StopAsyncIteration(),
    StopIteration("over"),
    TimeoutError("its own"),
    ValueError("half \ud800 and \0 NUL"),
    ValueError("x" * 1_000_000),
    BaseExceptionGroup("many", [SystemExit(1), ValueError("a")]),
    Odd(),
    Endless(),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
async def test_whatever_a_tool_raises_is_one_bounded_line(error: BaseException) -> None:
    async def run() -> None:
        raise error

    with pytest.raises(ToolBroke) as caught:
        await run_isolated(run, 60)
    text = str(caught.value)
    assert "\0" not in text and len(text.encode()) < TEXT * 4 and "\n" not in text
    await asyncio.sleep(0)  # the loop goes on


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
async def test_a_function_in_a_thread_may_raise_it_too(error: BaseException) -> None:
    def broken() -> str:
        raise error

    tool = FunctionTool(spec_of(broken), broken)

    async def run() -> ToolResult:
        return await tool.run({}, ToolContext("e", "c", None))  # type: ignore[arg-type]

    try:
        result = await run_isolated(run, 60)
    except ToolBroke as broke:
        assert type(error).__name__ in str(broke)
    else:
        assert result.error and type(error).__name__ in result.error


async def test_what_does_not_end_in_time_is_told_to_and_left_when_it_does_not() -> None:
    stop = asyncio.Event()

    async def deaf() -> None:
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeoutError):
        await run_isolated(deaf, 0.05, end_timeout=0.05)
    stop.set()
    await asyncio.sleep(0.01)


async def test_a_call_that_ends_well_while_it_is_told_to_stop_counts() -> None:
    async def last_moment() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        return "done"

    assert await run_isolated(last_moment, 0.05) == "done"


async def test_the_callers_own_cancellation_ends_the_tool_first() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def run() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("tool")

    async def call() -> Any:
        return await run_isolated(run, 60)

    task = asyncio.create_task(call())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["tool"]


def test_an_exception_without_text_is_its_type() -> None:
    assert error_text(KeyError()) == "KeyError" and error_text(ValueError("a\nb")) == "ValueError: a b"
