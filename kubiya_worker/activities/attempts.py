"""The state of a model call over its attempts. The heartbeats of one attempt pass it on to the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from kubiya_worker.models.base import FEW, MANY, ModelError
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.tracing import current

HEARTBEAT_EVERY: Final = 1.0  # seconds; the SDK throttles to the worker's limit
LONG: Final = 16_000  # characters of a conversation from which on its length may be why it is refused: 4k tokens


@contextlib.asynccontextmanager
async def heartbeats(details: Callable[[], tuple[Any, ...]] = tuple) -> AsyncIterator[None]:
    """Tell Temporal that this attempt is alive, and learn of cancellation, while the body runs.

    `details()` gives the details of a heartbeat. The next attempt gets those of the last one.
    """
    if activity.info().is_local:  # Temporal hears of these with the workflow's task
        yield
        return
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def beat() -> None:
        nonlocal timer
        timer = loop.call_later(HEARTBEAT_EVERY, beat)
        activity.heartbeat(*details(), *current.mark())

    # A timer and not a task: most calls are over before the first beat.
    timer = loop.call_later(HEARTBEAT_EVERY, beat)
    try:
        yield
    except BaseException:
        ended = current.mark(ended=True)
        if ended:
            activity.heartbeat(*details(), *ended)
        raise
    finally:
        timer.cancel()


def attempt_tag() -> str:
    """Return this attempt's tag for event ids: texts differ between attempts, so they must not count as repeats."""
    info = activity.info()
    return f"{info.current_attempt_scheduled_time.timestamp():.6f}".replace(".", "")


def place(worker_id: str, **times: str) -> dict[str, Any]:
    """Return who makes this attempt, for the event that ends or begins it; `times` are times that were measured."""
    info = activity.info()
    attempt = {"worker_id": worker_id, "activity": info.activity_id, "attempt": info.attempt}
    return {**attempt, **{k: v for k, v in times.items() if v}}


class Attempts:
    """The attempts of one call: tokens used, the number of unusable answers, and the model to ask next.

    `place` is the position of that model: 0 is the agent's own, then come its fallbacks. `failed` counts the faults of
    that model. `back` is the place of a model that was left although it had tries left.
    """

    def __init__(
        self, spent: Usage | None = None, unusable: int = 0, place: int = 0, failed: int = 0, back: int = -1
    ) -> None:
        self.spent = spent or Usage()
        self.unusable = unusable
        self.place = place
        self.failed = failed
        self.back = back
        self.long = False  # whether the conversation is, so that its length may be the reason for a fault

    @classmethod
    def before(cls) -> Attempts:
        """Return the state that earlier attempts of this call left in their last heartbeat."""
        details = [x for x in activity.info().heartbeat_details if isinstance(x, dict)]
        counts = details[1] if len(details) > 1 else {}
        numbers = {name: int(counts.get(name) or 0) for name in ("unusable", "place", "failed")}
        numbers["back"] = int(counts.get("back", -1))
        return cls(Usage.parse(details[0]) if details else None, **numbers)

    def details(self) -> tuple[dict[str, Any], ...]:
        """Return the details that a heartbeat carries."""
        return self.spent.wire(), {
            "unusable": self.unusable,
            "place": self.place,
            "failed": self.failed,
            "back": self.back,
        }

    def meet(self, error: ModelError) -> bool:
        """Count a fault; return whether the same model may be asked again."""
        self.failed += 1
        tries = error.tries
        if error.unclear and self.long:
            tries = min(tries, FEW)  # a shorter conversation is the better thing to try then
        if tries <= FEW:
            self.unusable += 1
        return tries > 1 and (tries > FEW or self.unusable < tries) and activity.info().attempt < MANY

    def turn(self, place: int) -> None:
        """Go on with another model."""
        self.place, self.unusable, self.failed = place, 0, 0

    def fault(self, text: str, error: ModelError, *, again: bool) -> ApplicationError:
        """Return the fault as Temporal's retry policy, and the workflow, understand it.

        Its details are the usage of the call, and what the workflow can do about the fault.
        """
        activity.heartbeat(*self.details())
        advice: dict[str, Any] = {}
        if error.window:
            advice["window"] = error.window
        if error.unclear and self.long and not again:
            advice["shorten"] = True
        details = [self.spent.wire()] if self.spent.total_tokens or advice else []
        delay = timedelta(seconds=error.retry_after) if error.retry_after and again else None
        return ApplicationError(
            text,
            *details,
            *([advice] if advice else []),
            type=error.kind,
            non_retryable=not again,
            next_retry_delay=delay,
        )
