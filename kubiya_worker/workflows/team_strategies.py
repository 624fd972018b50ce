"""This module has a strategy for each mode in which a team works on a turn; protocol/team.py describes the modes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol import team
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.failures import TurnFailed
from kubiya_worker.workflows.leader import Leader


@dataclass
class TeamProgress:
    """The place that a team has reached in the turn that it is in."""

    asked_in: int = 0  # the last turn in which all members were asked (collaborate)
    line: dict[str, Any] = field(default_factory=dict)  # how far a sequential turn is: {turn, next, task, before}

    def carry(self, into: Carried) -> None:
        into.asked_in, into.line = self.asked_in, self.line

    def restore(self, saved: Carried) -> None:
        self.asked_in, self.line = saved.asked_in or 0, saved.line or {}


class TeamStrategy(Protocol):
    """A way of working together. The loop of the execution asks it before and after the leader's model."""

    async def open(self) -> str | None:
        """Do what comes before the leader's model is asked. Return a finish reason when that was the whole turn."""

    def concludes(self, results: list[m.Message]) -> bool:
        """Return True when the results of a step's tools hold the answer, and say it: the model is not asked again."""


class CoordinateStrategy:
    """The leader's model asks members as it decides, and answers. An agent without members works so too."""

    def __init__(self, leader: Leader, progress: TeamProgress) -> None:
        self._leader = leader

    async def open(self) -> str | None:
        return None

    def concludes(self, results: list[m.Message]) -> bool:
        return False


class RouteStrategy:
    """The leader's model picks one member, whose answer is the team's."""

    def __init__(self, leader: Leader, progress: TeamProgress) -> None:
        self._leader = leader

    async def open(self) -> str | None:
        return None

    def concludes(self, results: list[m.Message]) -> bool:
        if self._leader.interrupted:
            return False
        tools = {member["tool"] for member in self._leader.members}
        for result in results:
            if result["tool_name"] in tools and result["status"] == m.TOOL_SUCCESS:
                self._leader.add_message(result["content"])
                return True
        return False


class CollaborateStrategy:
    """All members work at the same time; then the leader's model joins their answers."""

    def __init__(self, leader: Leader, progress: TeamProgress) -> None:
        self._leader = leader
        self._progress = progress

    async def open(self) -> str | None:
        if self._progress.asked_in != self._leader.turn and await self._leader.may_go_on():
            task = self._leader.take_task()
            self._progress.asked_in = self._leader.turn
            await self._leader.ask(self._leader.members, task)
        return None

    def concludes(self, results: list[m.Message]) -> bool:
        return False


class SequentialStrategy:
    """Members work one after the other, each with the earlier answers. The last one that succeeds gives the answer."""

    def __init__(self, leader: Leader, progress: TeamProgress) -> None:
        self._leader = leader
        self._progress = progress

    async def open(self) -> str | None:
        if self._progress.line.get("turn") != self._leader.turn:
            self._progress.line = {"turn": self._leader.turn, "next": 0, "task": "", "before": []}
        line, members = self._progress.line, self._leader.members
        while line["next"] < len(members):
            if not await self._leader.may_go_on():
                return "stop"
            line["task"] = "\n\n".join(filter(None, (line["task"], self._leader.take_task())))
            member = members[line["next"]]
            before = "\n\n".join(f"{name} ({status}):\n{text}" for name, status, text in line["before"])
            result = (await self._leader.ask([member], line["task"], before))[0]
            line["before"].append([member["name"], result["status"], result["content"]])
            line["next"] += 1
        good = [text for _, status, text in line["before"] if status == m.TOOL_SUCCESS]
        if not good:
            raise TurnFailed(f"No member could do it. {line['before'][-1][2]}", "MembersFailed")
        self._leader.add_message(good[-1])
        return "stop"

    def concludes(self, results: list[m.Message]) -> bool:
        return False


Strategies = Mapping[str, Callable[[Leader, TeamProgress], TeamStrategy]]
BY_MODE: Final[Strategies] = {
    team.COORDINATE: CoordinateStrategy,
    team.ROUTE: RouteStrategy,
    team.COLLABORATE: CollaborateStrategy,
    team.SEQUENTIAL: SequentialStrategy,
}
