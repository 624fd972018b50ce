"""This module runs a tool's code so that an error, or a call that does not end, fails only that call.

asyncio passes SystemExit and KeyboardInterrupt of a task to the event loop, which would end the worker; a
CancelledError that a tool raises itself looks like Temporal's. So a tool runs in its own task, whose outcome is always
a value.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from kubiya_worker.tools.text import clean, cut

T = TypeVar("T")

END_TIMEOUT: Final = 15.0  # seconds that a cancelled tool has to end everything it started
TEXT: Final = 2_000  # characters of an exception's own text
WHERE: Final = 3  # frames of the traceback in the log

log = logging.getLogger(__name__)


class ToolBroke(Exception):
    """A tool raised an error that it must not; the message is for the model and the log."""

    def __init__(self, message: str, where: str) -> None:
        super().__init__(message)
        self.where = where


async def run_isolated(run: Callable[[], Awaitable[T]], patience: float, end_timeout: float = END_TIMEOUT) -> T:
    """Return the result of `run()`; raise only Broke, or TimeoutError after `patience` seconds.

    CancelledError leaves here only when the caller was cancelled; the tool is ended before that.
    """
    task = asyncio.create_task(_outcome(run))
    try:
        done, _ = await asyncio.wait({task}, timeout=patience)
        if not done:
            await _end(task, end_timeout)
    except asyncio.CancelledError:
        await _end(task, end_timeout)
        raise
    if not task.done() or task.cancelled():
        raise TimeoutError
    result, error = task.result()
    if error is None:
        return result[0]
    if not done:
        raise TimeoutError  # the tool was told to stop, and raised its own error for that
    raise ToolBroke(error_text(error), _where(error))


async def _outcome(run: Callable[[], Awaitable[T]]) -> tuple[list[T], BaseException | None]:
    try:
        return [await run()], None
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return [], error
    except BaseException as error:  # SystemExit, KeyboardInterrupt and GeneratorExit too: see the module's docstring
        return [], error


async def _end(task: asyncio.Task[tuple[list[T], BaseException | None]], seconds: float) -> None:
    """Cancel the task and wait for its end; a task that ignores this is left alone."""
    task.cancel()
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        log.warning("tool.stuck it was cancelled and did not end within %g seconds", seconds)


def error_text(error: BaseException) -> str:
    """Return type and text of an exception in one bounded line, whatever its text is or does."""
    try:
        name = cut(clean(type(error).__name__), 100)
    except BaseException:
        name = "an exception"
    try:
        text = cut(clean(" ".join(str(error).split())), TEXT)
    except BaseException:
        text = "(its text cannot be shown)"
    return f"{name}: {text}" if text else name


def _where(error: BaseException) -> str:
    """Return the last lines of code that the exception passed, for the log."""
    try:
        frames = traceback.extract_tb(error.__traceback__)[-WHERE:]
        return clean(" < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames)))
    except BaseException:
        return ""
