"""Each mode of a team, without a workflow around it: whom it asks, and what it gives as the answer."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol import team
from kubiya_worker.workflows.carried import Carried
from kubiya_worker.workflows.failures import TurnFailed
from kubiya_worker.workflows.leader import Leader
from kubiya_worker.workflows.team_strategies import BY_MODE, TeamProgress, TeamStrategy

MEMBERS = [{"tool": "ask_ada", "name": "ada"}, {"tool": "ask_ben", "name": "ben"}]


class ScriptedLeader:
    """Answers as the script says, by the member's name; a text that begins with "!" is a failure."""

    def __init__(self, turn: int = 1, *, done_after: int = 99, interrupted: bool = False, **answers: str) -> None:
        self.members = MEMBERS
        self.turn = turn
        self.interrupted = interrupted
        self.asked: list[tuple[str, str, str]] = []
        self.said: list[str] = []
        self._answers = answers
        self._done_after = done_after
        self._tasks = ["Look."]

    async def may_go_on(self) -> bool:
        self._done_after -= 1
        return self._done_after >= 0

    def take_task(self) -> str:
        return self._tasks.pop() if self._tasks else ""

    async def ask(self, members: list[dict[str, Any]], task: str, context: str = "") -> list[m.Message]:
        self.asked += [(member["name"], task, context) for member in members]
        return [result(member["tool"], self._answers[member["name"]]) for member in members]

    def add_message(self, text: str) -> None:
        self.said.append(text)


def result(tool: str, text: str) -> m.Message:
    status = m.TOOL_FAILED if text.startswith("!") else m.TOOL_SUCCESS
    return {"tool_name": tool, "status": status, "content": text}


def strategy(mode: str, leader: ScriptedLeader, progress: TeamProgress | None = None) -> TeamStrategy:
    return BY_MODE[mode](cast(Leader, leader), progress or TeamProgress())


def test_there_is_a_strategy_for_each_mode() -> None:
    assert set(BY_MODE) == set(team.MODES)


async def test_members_in_line_get_the_earlier_answers_and_the_last_good_one_is_the_answer() -> None:
    leader = ScriptedLeader(ada="Disk is full.", ben="!no access")
    assert await strategy(team.SEQUENTIAL, leader).open() == "stop"
    assert leader.asked == [("ada", "Look.", ""), ("ben", "Look.", "ada (success):\nDisk is full.")]
    assert leader.said == ["Disk is full."]


async def test_a_line_in_which_nobody_succeeds_fails_the_turn() -> None:
    with pytest.raises(TurnFailed, match="!neither"):
        await strategy(team.SEQUENTIAL, ScriptedLeader(ada="!not me", ben="!neither")).open()


async def test_a_line_goes_on_in_the_next_run_where_it_was() -> None:
    progress, carried = TeamProgress(), Carried()
    assert await strategy(team.SEQUENTIAL, ScriptedLeader(done_after=1, ada="Seen."), progress).open() == "stop"
    progress.carry(carried)
    again = TeamProgress()
    again.restore(Carried.unpack(carried.pack()))
    leader = ScriptedLeader(ben="Done.")
    await strategy(team.SEQUENTIAL, leader, again).open()
    assert [name for name, _, _ in leader.asked] == ["ben"]
    assert leader.said == ["Done."]


async def test_all_are_asked_once_in_a_turn() -> None:
    progress = TeamProgress()
    leader = ScriptedLeader(ada="A.", ben="B.")
    together = strategy(team.COLLABORATE, leader, progress)
    assert await together.open() is None
    assert await together.open() is None
    assert [name for name, _, _ in leader.asked] == ["ada", "ben"]
    leader.turn = 2
    await together.open()
    assert len(leader.asked) == 4


@pytest.mark.parametrize(
    ("interrupted", "results", "said"),
    [
        (False, [result("ask_ada", "Full.")], ["Full."]),
        (False, [result("ask_ada", "!no"), result("ask_ben", "Full.")], ["Full."]),
        (False, [result("ask_ada", "!no")], []),
        (False, [result("run_shell", "ok")], []),
        (True, [result("ask_ada", "Full.")], []),
    ],
)
def test_a_routed_members_answer_is_the_teams(interrupted: bool, results: list[m.Message], said: list[str]) -> None:
    leader = ScriptedLeader(interrupted=interrupted)
    assert strategy(team.ROUTE, leader).concludes(results) == bool(said)
    assert leader.said == said


@pytest.mark.parametrize("mode", [team.COORDINATE, team.COLLABORATE])
def test_where_the_leader_answers_no_result_is_the_answer(mode: str) -> None:
    leader = ScriptedLeader()
    assert not strategy(mode, leader).concludes([result("ask_ada", "Full.")])
    assert leader.said == []
