"""Delivery of an execution's writes: required ones until the control plane has them, optional ones once.

A required write raises only in an outage (the caller waits and repeats it) or when the key is refused. A request that
fails at a control plane that is otherwise reachable is repeated a few times, then reduced (`reduced_writes`). If that
fails too, it is logged and the execution goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from kubiya_worker.control_plane import errors, reduced_writes
from kubiya_worker.control_plane.answers import OPTIONAL_TIMEOUT
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.throttled_log import ThrottledLog
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import names

log = logging.getLogger(__name__)

PAUSES: Final = (0.2, 0.6, 1.8)  # seconds before the next try of a request that the control plane breaks on
DELETABLE: Final = ("agent_status",)  # kinds whose row can be deleted at any time
PROBE_AFTER: Final = 3.0  # seconds without an answer, after which the control plane is probed
PAUSE_ROUTE_AFTER: Final = 2.0  # seconds without an answer, after which a route is left alone
ROUTE_PAUSE: Final = 5.0  # seconds, doubling up to LONGEST_ROUTE_PAUSE
LONGEST_ROUTE_PAUSE: Final = 600.0


class Delivery:
    """The delivery makes the writes of executions. It belongs to one event loop."""

    def __init__(self, control_plane: ControlPlane, writer: Writer) -> None:
        self._control_plane, self._writer = control_plane, writer
        self._fault_log = ThrottledLog()
        self._paused_routes: dict[str, tuple[float, float]] = {}  # silent routes -> (left alone until, seconds)

    async def together(self, *stages: Sequence[Write], must: bool = False) -> list[dict[str, Any]]:
        """Make writes stage by stage and return the answers in order; a write that was not taken has an empty one.

        All writes go in one request where the control plane can do that. When it refuses one entry, they go one by one,
        without those that depend on the outcome of another (`if_status`).
        `must`: raise where a required write is refused.
        """
        every = [write for stage in stages for write in stage]
        if names.FEATURE_BATCH in self._control_plane.features and len(every) > 1:
            try:
                return await self._write_within(*every)
            except errors.Unauthorized:
                raise
            except errors.ControlPlaneError as error:
                if error.outage:
                    raise
                self._fault_log.add("batch.refused", type(error).__name__, str(error))
        answers: list[dict[str, Any]] = []
        for stage in stages:
            unconditional = [write for write in stage if not write.if_status]
            answer_by_id = dict(
                zip(
                    map(id, unconditional),
                    await asyncio.gather(*(self.make(w, must=must) for w in unconditional)),
                    strict=True,
                )
            )
            answers += [answer_by_id.get(id(write)) or {} for write in stage]
        return answers

    async def make(self, write: Write, *, must: bool = False) -> dict[str, Any] | None:
        """Make one write, required or optional as `KINDS` says. Return the answer; None when it was not taken."""
        return await (self.optional(write) if write.optional else self.required(write, must=must))

    async def required(self, write: Write, *, must: bool = False) -> dict[str, Any] | None:
        """Make a required write. Return the answer; None when even the most reduced form is refused.

        `must`: raise instead of returning None. Raises in an outage, and where the key is refused.
        """
        refusal = await self._try_repeatedly(write, PAUSES)
        if not isinstance(refusal, errors.ControlPlaneError):
            return refusal
        if refusal.status != 404:
            for less in reduced_writes.reduced(write):
                log.warning("write.weakened %s", refusal)
                answer = await self._try_repeatedly(less, ())
                if not isinstance(answer, errors.ControlPlaneError):
                    return answer
                refusal = answer
        if must:
            raise refusal
        log.error("write.refused %s remedy=It is not tried again", refusal)
        return None

    async def _try_repeatedly(self, write: Write, pauses: Sequence[float]) -> dict[str, Any] | errors.ControlPlaneError:
        """Try a write a few times. Return its answer, or the error if the control plane is there but refuses it."""
        for pause in (*pauses, None):
            try:
                (answer,) = await self._write_within(write)
                return answer
            except errors.Unauthorized:
                raise
            except errors.Refused as error:
                # Without a status it may be the page of a proxy or a portal, and no answer.
                if error.status is None and not await self._is_reachable(write):
                    raise errors.Unreachable(error.message, remedy=error.remedy) from error
                return error
            except errors.ControlPlaneError as error:
                if error.outage or not await self._is_reachable(write):
                    raise
                if pause is None:
                    return error
            await asyncio.sleep(pause)
        raise AssertionError

    async def _write_within(self, *group: Write) -> list[dict[str, Any]]:
        """Make writes and return the answers. Raise Unreachable early when the control plane answers nothing at all.

        Without this, a network that drops packets would hold a write for half a minute, also after the control plane is
        back. The write may have arrived; making it again has the same effect.
        """
        task = asyncio.ensure_future(self._writer.write(*group))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio logs an unread error
        while not task.done():
            await asyncio.wait({task}, timeout=PROBE_AFTER)
            if not task.done() and not await self._is_reachable(group[0]) and not task.done():
                raise errors.Unreachable("The control plane does not answer", remedy="It is tried again")
        return task.result()

    async def _is_reachable(self, write: Write) -> bool:
        """Return True when the control plane can read the row of a write, so that the write itself is at fault."""
        execution_id = reduced_writes.execution_of(write)
        return execution_id is None or await asyncio.to_thread(
            self._control_plane.is_there, execution_id, OPTIONAL_TIMEOUT
        )

    async def optional(self, write: Write) -> dict[str, Any] | None:
        """Try an optional write once. Return the answer; None when it was not taken. Raise nothing.

        A route that does not answer is left alone for a while, so that not every execution waits for it.
        """
        kind_name, family = write.kind.name if write.kind else write.path, write.path.split("/")[1]
        paused_until, pause = self._paused_routes.get(family, (0.0, ROUTE_PAUSE / 2))
        began = time.monotonic()
        if began < paused_until:
            return None
        try:
            (answer,) = await self._writer.write(write)
        except errors.ControlPlaneError as error:
            if not (error.status == 404 and kind_name in DELETABLE):
                self._fault_log.add("write.dropped", f"{kind_name} {error.status}", f"kind={kind_name} {error}")
            if error.status is None and time.monotonic() - began >= PAUSE_ROUTE_AFTER:
                pause = min(pause * 2, LONGEST_ROUTE_PAUSE)
                self._paused_routes[family] = (time.monotonic() + pause, pause)
            return None
        except Exception as error:  # an answer of an unknown shape
            self._fault_log.add("write.dropped", kind_name, f"kind={kind_name} {type(error).__name__}: {error}")
            return None
        self._paused_routes.pop(family, None)
        return answer


def conditional(writes: Sequence[Write], status: str) -> list[Write]:
    """Return the writes with the condition that the turn before them came to this status."""
    return [replace(write, if_status=status) for write in writes]
