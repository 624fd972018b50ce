"""Making the writes of an execution: what it depends on until the control plane has it, the rest once.

A required write raises only what says nothing about the request: an outage (the caller waits, and makes it again), or a
key that is refused. A request that the control plane breaks on, though it is there, is repeated a few times and then
made with less in it (`weaker`); what is not taken even so is logged, and the execution goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from kubiya_worker.control_plane import errors, weaker
from kubiya_worker.control_plane.client import OPTIONAL_TIMEOUT, ControlPlane
from kubiya_worker.control_plane.complaints import Complaints
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import names

log = logging.getLogger(__name__)

PAUSES: Final = (0.2, 0.6, 1.8)  # seconds before the next try of a request that the control plane breaks on
GONE: Final = ("agent_status",)  # what they are about can be deleted at any time
SILENT: Final = 3.0  # seconds without an answer, after which it is asked whether the control plane is there
SLOW: Final = 2.0  # seconds: routes without an answer for so long rest
REST: Final = 5.0  # seconds, doubling up to LONGEST_REST
LONGEST_REST: Final = 600.0


class Delivery:
    """Of one event loop."""

    def __init__(self, control_plane: ControlPlane, writer: Writer) -> None:
        self._control_plane, self._writer = control_plane, writer
        self._complaints = Complaints()
        self._rests: dict[str, tuple[float, float]] = {}  # routes that do not answer: until when, for how long

    async def together(self, *stages: Sequence[Write], must: bool = False) -> list[dict[str, Any]]:
        """Make writes, a stage after the other, and return the answers in order; empty for one that was not taken.

        All in one request where the control plane can do that. One entry that it does not take costs only itself: then
        they go one by one, without those that depend on the outcome of another (`if_status`).
        `must`: raise where a required one is refused.
        """
        every = [write for stage in stages for write in stage]
        if names.FEATURE_BATCH in self._control_plane.features and len(every) > 1:
            try:
                return await self._answered(*every)
            except errors.Unauthorized:
                raise
            except errors.ControlPlaneError as error:
                if error.outage:
                    raise
                self._complaints.add("batch.refused", type(error).__name__, str(error))
        answers: list[dict[str, Any]] = []
        for stage in stages:
            made = [write for write in stage if not write.if_status]
            found = dict(
                zip(map(id, made), await asyncio.gather(*(self.make(w, must=must) for w in made)), strict=True)
            )
            answers += [found.get(id(write)) or {} for write in stage]
        return answers

    async def make(self, write: Write, *, must: bool = False) -> dict[str, Any] | None:
        """Make one write as the list has it; None: it was not taken."""
        return await (self.optional(write) if write.optional else self.required(write, must=must))

    async def required(self, write: Write, *, must: bool = False) -> dict[str, Any] | None:
        """Make a write that the execution depends on; None: the control plane does not take it, whatever is left out.

        `must`: raise then. Raises in an outage, and where the key is refused.
        """
        refusal = await self._insisted(write, PAUSES)
        if not isinstance(refusal, errors.ControlPlaneError):
            return refusal
        if refusal.status != 404:
            for less in weaker.than(write):
                log.warning("write.weakened %s", refusal)
                answer = await self._insisted(less, ())
                if not isinstance(answer, errors.ControlPlaneError):
                    return answer
                refusal = answer
        if must:
            raise refusal
        log.error("write.refused %s remedy=It is not tried again", refusal)
        return None

    async def _insisted(self, write: Write, pauses: Sequence[float]) -> dict[str, Any] | errors.ControlPlaneError:
        """The answer, or why there is none although the control plane is there."""
        for pause in (*pauses, None):
            try:
                (answer,) = await self._answered(write)
                return answer
            except errors.Unauthorized:
                raise
            except errors.Refused as error:
                if error.status is None and not await self._there(write):  # somebody else's page in its place
                    raise errors.Unreachable(error.message, remedy=error.remedy) from error
                return error
            except errors.ControlPlaneError as error:
                if error.outage or not await self._there(write):
                    raise
                if pause is None:
                    return error
            await asyncio.sleep(pause)
        raise AssertionError

    async def _answered(self, *group: Write) -> list[dict[str, Any]]:
        """The answers to writes. One that is silent is given up once the control plane does not answer at all.

        Else a network that swallows packets holds it for half a minute, also when the control plane is back by then. It
        may have arrived: it is made again, and says the same.
        """
        task = asyncio.ensure_future(self._writer.write(*group))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio logs what nobody asks
        while not task.done():
            await asyncio.wait({task}, timeout=SILENT)
            if not task.done() and not await self._there(group[0]) and not task.done():
                raise errors.Unreachable("The control plane does not answer", remedy="It is tried again")
        return task.result()

    async def _there(self, write: Write) -> bool:
        """Whether the control plane reads the row that a write is about: then it is the write that it breaks on."""
        execution_id = weaker.execution_of(write)
        return execution_id is None or await asyncio.to_thread(
            self._control_plane.is_there, execution_id, OPTIONAL_TIMEOUT
        )

    async def optional(self, write: Write) -> dict[str, Any] | None:
        """Try a write that nothing depends on, once; None: it was not taken. Raises nothing.

        Routes that do not answer rest for a while, so that not every execution waits for them.
        """
        kind, family = write.kind.name if write.kind else write.path, write.path.split("/")[1]
        until, rest = self._rests.get(family, (0.0, REST / 2))
        began = time.monotonic()
        if began < until:
            return None
        try:
            (answer,) = await self._writer.write(write)
        except errors.ControlPlaneError as error:
            if not (error.status == 404 and kind in GONE):
                self._complaints.add("write.dropped", f"{kind} {error.status}", f"kind={kind} {error}")
            if error.status is None and time.monotonic() - began >= SLOW:
                rest = min(rest * 2, LONGEST_REST)
                self._rests[family] = (time.monotonic() + rest, rest)
            return None
        except Exception as error:  # an answer in no shape that we know
            self._complaints.add("write.dropped", kind, f"kind={kind} {type(error).__name__}: {error}")
            return None
        self._rests.pop(family, None)
        return answer


def conditional(writes: Sequence[Write], status: str) -> list[Write]:
    """Return the writes as such that are made only when the turn before them came to this status."""
    return [replace(write, if_status=status) for write in writes]
