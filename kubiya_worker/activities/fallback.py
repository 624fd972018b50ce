"""A model call over an agent's models and attempts: the next model to ask, the notices, and the cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from kubiya_worker.activities.attempts import Attempts
from kubiya_worker.activities.call_prices import CallPrices
from kubiya_worker.activities.model_step import ModelStep
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.errors import WorkerError
from kubiya_worker.models import fallback
from kubiya_worker.models.base import CONTEXT_OVERFLOW, MANY, ModelError
from kubiya_worker.protocol import calls

T = TypeVar("T")
SHOWN: Final = 2000  # characters of a fault: Temporal refuses a failure of more than some hundred kilobytes

Ask = Callable[[str, str], Awaitable[T]]  # (model, tag of its events) -> what it answers


class Fallback:
    """The fallback asks an agent's own model, and the others where that one fails (see models/fallback.py)."""

    def __init__(self, runtime: Runtime, prices: CallPrices) -> None:
        self._runtime = runtime
        self._prices = prices
        self._resting = fallback.Resting()

    async def ask(self, step: ModelStep, ask: Ask[T]) -> T:
        """Return the answer of the first model that gives one. Raise ApplicationError, retryable or not."""
        call, context, attempts, tag = step.call, step.context, step.attempts, step.tag
        models = [context.model_id, *context.fallback_models]
        if activity.info().attempt == 1:
            attempts.place = self._resting.first(models)
        attempts.place = min(attempts.place, len(models) - 1)
        if attempts.place and activity.info().attempt == 1:
            # Once for an execution: its id is the same in each step, and who watches drops repeats.
            text = f"{models[0]} has just failed: {models[attempts.place]} is asked first"
            step.notify(f"{call.execution_id}:fallback:{attempts.place}", text, "fallback")
        switches = 0
        while True:
            model = models[attempts.place]
            try:
                return await ask(model, f"{tag}.{switches}" if switches else tag)
            except ModelError as error:
                await self._charge(error, model, attempts)
                if error.window:
                    self._runtime.models.learn(model, error.window)
                again = attempts.meet(error)
                place = await self._next(error, models, attempts, again=again)
                if place is None and not again and attempts.back >= 0 and activity.info().attempt < MANY:
                    attempts.turn(attempts.back)  # it was away only: without the others it would be waited for
                    attempts.back, again = -1, True
                if place is None:
                    tried = f"{tag}.{switches}" if switches else tag
                    raise self._failure(step, error, tried, again=again) from error
                self._resting.rest(model, error)
                text = f"{self._words(call, error)}. Going on with the model {models[place]}"
                step.notify(f"{call.message_id}:{tag}.{switches}", text, "fallback")
                if again and attempts.back < 0:
                    attempts.back = attempts.place
                attempts.turn(place)
                activity.heartbeat(*attempts.details())
                switches += 1
                step.take_back(f"{tag}.{switches}")
            except WorkerError as error:
                raise ApplicationError(error.line(), type=type(error).__name__, non_retryable=True) from error

    async def _next(self, error: ModelError, models: Sequence[str], attempts: Attempts, *, again: bool) -> int | None:
        """Return the place of the model to ask at once; None where the fault ends this attempt or the whole call."""
        after = attempts.place + 1
        if error.kind == CONTEXT_OVERFLOW:
            known = self._runtime.models.window
            size = error.window or await asyncio.to_thread(known, models[attempts.place]) or 0
            for place in range(after, len(models)):
                if size and (await asyncio.to_thread(known, models[place]) or 0) > size:
                    return place
            return None
        if after < len(models) and fallback.gives_way(error, attempts.failed, again=again):
            return after
        return None

    async def _charge(self, error: ModelError, model: str, attempts: Attempts) -> None:
        if error.usage.total_tokens:
            attempts.spent = attempts.spent.plus(await self._prices.of_failure(model, error))

    def _failure(self, step: ModelStep, error: ModelError, tag: str, *, again: bool) -> ApplicationError:
        text = self._words(step.call, error)
        if again:
            wait = f" in {error.retry_after:g} s" if error.retry_after else ""
            step.notify(f"{step.call.message_id}:{tag}", f"{text}, trying again{wait}", error.kind)
        elif activity.info().attempt > 1:
            text = f"{text} (tried {activity.info().attempt} times)"
        return step.attempts.fault(text, error, again=again)

    def _words(self, call: calls.ModelInput, error: ModelError) -> str:
        text = self._runtime.redactor_of(call.execution_id).text(error.line())
        text = text.replace("\0", " ").encode("utf-8", "replace").decode()
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
