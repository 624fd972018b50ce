"""`pack_state` packs the state that a run hands to the next one: on the workflow's thread it would take seconds."""

from __future__ import annotations

import asyncio

from temporalio import activity

from kubiya_worker.activities.attempts import heartbeats
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.workflow_context import conversation_of
from kubiya_worker.protocol import calls, names, packing


class PackingActivities:
    """The activity that packs, with the conversations that this worker has in memory."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.PACK_STATE)
    async def pack_state(self, asked: calls.PackInput) -> calls.PackResult:
        """Return the state with the whole conversation as one text, or only its size when it is too large."""
        async with heartbeats():
            messages = await conversation_of(self._runtime, asked.call)
            conversation = {"messages": messages, **asked.state["conversation"]}
            packed = await asyncio.to_thread(packing.pack, {**asked.state, "conversation": conversation})
        return calls.PackResult(packed if len(packed) < asked.most else "", len(packed))
