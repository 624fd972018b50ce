"""The prices of model calls, in their usage."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.models.base import ModelError, ModelReply
from kubiya_worker.protocol.execution import Usage


class CallPrices:
    """The prices of a worker's model calls: by the table of prices, else as the gateway tells them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looked_up: set[tuple[str, str]] = set()  # models whose price was looked up before

    async def of_reply(self, model_id: str, reply: ModelReply, retention: str) -> Usage:
        """Return a reply's usage with its price. `retention` is the time that the entries of its cache last."""
        return await self._priced(model_id, reply.usage, reply.model, retention, reply.cost_nanos)

    async def of_failure(self, model_id: str, error: ModelError) -> Usage:
        return await self._priced(model_id, error.usage, error.model, "", error.cost_nanos)

    async def _priced(
        self, model_id: str, usage: Usage, answered_by: str, retention: str, reported_nanos: int | None
    ) -> Usage:
        """Return `usage` with its price, where that is known, and with the saving by the prompt cache.

        `answered_by` is the provider's name of the model that answered. `reported_nanos` is the cost of the call as
        the gateway reports it, in 1e-9 USD; it counts where no price is known.
        """
        models = self._runtime.models
        if models.offline(model_id):
            return usage
        if (model_id, answered_by) in self._looked_up:
            nanos = models.nanos(model_id, usage, answered_by, retention)
        else:  # the first time it reads a large table
            nanos = await asyncio.to_thread(models.nanos, model_id, usage, answered_by, retention)
            self._looked_up.add((model_id, answered_by))
        if nanos is None:
            return replace(usage, cost_nanos=reported_nanos or 0)
        return replace(usage, cost_nanos=nanos, saved_nanos=models.saved(model_id, usage, nanos, answered_by))
