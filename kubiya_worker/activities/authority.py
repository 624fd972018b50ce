"""The rules, skills and stop that hold now, asked of the control plane at the calls of running executions.

One answer counts for FRESH seconds for all executions of the same agent or team, so a busy worker asks rarely. When
the control plane does not answer, the last known answer holds: an outage makes nothing more permissive.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from temporalio import activity

from kubiya_worker.control_plane import lenient
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.protocol import calls, messages
from kubiya_worker.protocol.tools import OWN_SKILL

FRESH: Final = 2.0  # seconds that an answer counts as the one of now
LIMIT: Final = 256  # agents and teams that are remembered


@dataclass(frozen=True)
class Authority:
    """The rules, skills and stop of one agent or team, as the control plane told them.

    `skills`: those it has, or None where the control plane does not know them (the execution's own count then).
    `stopped`: who stopped all agents, when and why ({by, at, reason}); None while nobody did.
    `version`: a digest of the rules and skills, which events name; empty for what only the execution itself holds.
    `read_at`: monotonic seconds of the answer; `age` is counted from there.
    """

    rules: Sequence[Any]
    skills: Sequence[Mapping[str, Any]] | None = None
    stopped: Mapping[str, Any] | None = None
    version: str = ""
    read_at: float = 0.0

    def age(self, now: float) -> float:
        """Return the seconds since the control plane gave this answer."""
        return max(0.0, now - self.read_at)

    def about(self) -> dict[str, Any]:
        """Return what events say of the rules that decided: their version, and their age in seconds."""
        if not self.version:
            return {"rules_version": "start of the execution"}
        return {"rules_version": self.version, "rules_age_seconds": round(self.age(time.monotonic()), 1)}

    def removed(self, skill_id: str) -> bool:
        """Return whether the control plane does not list the skill any more."""
        return bool(skill_id) and self._skill_ids is not None and skill_id not in self._skill_ids

    @cached_property
    def _skill_ids(self) -> frozenset[str] | None:
        return None if self.skills is None else frozenset(str(skill.get("id")) for skill in self.skills)

    def current(self, skills: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the skills of an execution with the configuration that they have now, in the same order.

        One that was taken away, or that no control plane has (of a dynamic agent), stays as it is.
        """
        now = {str(skill.get("id")): dict(skill) for skill in self.skills or ()}
        return [skill if own(skill) else now.get(str(skill.get("id")), skill) for skill in skills]


def own(skill: Mapping[str, Any]) -> bool:
    """Return whether the skill came with the execution's own definition instead of from the control plane."""
    return skill.get("source") == OWN_SKILL


class Authorities:
    """The answers of the control plane, by agent or team. One request at a time is made for each."""

    def __init__(self, control_plane: ControlPlane, clock: Callable[[], float] = time.monotonic) -> None:
        self._control_plane, self._clock = control_plane, clock
        self._known: OrderedDict[tuple[str, str], Authority] = OrderedDict()
        self._tried: dict[tuple[str, str], float] = {}
        self._asking: dict[tuple[str, str], asyncio.Task[None]] = {}

    def learn(self, context: calls.Context, read_at: float) -> Authority:
        """Return what an execution begins with, read at `read_at` (monotonic seconds); keep it unless newer is known.

        So the first steps of an execution cost no request.
        """
        key = (context.kind, context.agent_id)
        known = self._known.get(key)
        skills = None if any(map(own, context.skills)) else context.skills
        authority = _versioned(Authority(context.rules, skills, read_at=read_at))
        if known is None or (known.read_at < read_at and known.stopped is None):
            self._keep(key, authority)
        return authority

    async def of(self, context: calls.Context) -> Authority:
        """Return what holds now; the last known answer while the control plane is away, else the execution's own."""
        key = (context.kind, context.agent_id)
        known, now = self._known.get(key), self._clock()
        if (known is None or known.age(now) > FRESH) and now - self._tried.get(key, -FRESH) >= FRESH:
            task = self._asking.get(key)
            if task is None:
                task = self._asking[key] = asyncio.create_task(self._ask(key))
                task.add_done_callback(lambda _: self._asking.pop(key, None))
            # Shielded: the answer is for every execution that waits for it, not only for one that is cancelled.
            await asyncio.shield(task)
            known = self._known.get(key)
        return known if known is not None else Authority(context.rules, read_at=now)

    async def _ask(self, key: tuple[str, str]) -> None:
        began = self._clock()
        try:
            answer = await asyncio.to_thread(self._control_plane.contexts.authority, *key)
        except ControlPlaneError as error:
            activity.logger.warning("authority.unavailable %s", error)
            self._tried[key] = self._clock()
            return
        self._tried.pop(key, None)
        skills: Sequence[Mapping[str, Any]] | None = answer.get("skills")
        if skills is not None:
            skills = [skill for skill in skills if lenient.flag(skill.get("enabled"), True)]
        elif key in self._known:  # only the skills could not be read: what was taken away stays taken away
            skills = self._known[key].skills
        self._keep(key, _versioned(Authority(answer["rules"], skills, answer.get("stopped"), read_at=began)))

    def _keep(self, key: tuple[str, str], authority: Authority) -> None:
        self._known[key] = authority
        self._known.move_to_end(key)
        while len(self._known) > LIMIT:
            self._tried.pop(self._known.popitem(last=False)[0], None)


def _versioned(authority: Authority) -> Authority:
    """Return the answer with its version: a digest of the rules and skills, the same on every worker."""
    text = messages.canonical([list(authority.rules), None if authority.skills is None else list(authority.skills)])
    return replace(authority, version=hashlib.sha256(text.encode()).hexdigest()[:12])
