"""D1, D2, D5, D6: a worker that is killed at any step of a run loses nothing and repeats nothing that was finished.

The slow tests kill at every step: what steps there are, a run that nobody disturbs says. How each run is counted is in
tests/support/kill_grid.py.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.support.kill_grid import Outcome, Scene, play_all, points, summary
from tests.support.stack import Stack

TAKEN_UP_WITHIN = 30.0  # seconds, figure D2

WORK = ("write", "say")
THREE = Scene(
    {"one": WORK, "two": WORK, "three": WORK, "team": ("ask one two three", "say")},
    "team",
    {"team": ("coordinate", ("one", "two", "three"))},
)
# One member has a worker of its own, the leader has, and two members share one.
APART = replace(THREE, queues={"one": "member", "two": "others", "three": "others"}, workers=1, alone=True)
SCENES = {
    "agent": Scene({"agent": ("write", "write", "write", "say")}, "agent", workers=1, alone=True),
    "brief": Scene({"agent": ("look", "write", "look", "say")}, "agent", workers=1, alone=True),
    "brief shared": Scene({"agent": ("look", "look", "say")}, "agent", workers=2, alone=True),
    "leader apart": APART,
    "member apart": replace(APART, struck="member"),
    "one queue": replace(THREE, workers=3),
    "route": Scene(
        {"one": WORK, "two": (), "team": ("ask one",)}, "one", {"team": ("route", ("one", "two"))}, alone=True
    ),
    "sequential": Scene(
        {"one": WORK, "two": WORK, "team": ()}, "two", {"team": ("sequential", ("one", "two"))}, alone=True
    ),
    "collaborate": Scene(
        {"one": WORK, "two": WORK, "team": ("-", "say")}, "team", {"team": ("collaborate", ("one", "two"))}
    ),
    "nested": Scene(
        {"one": WORK, "two": WORK, "inner": ("ask one two", "say"), "team": ("ask inner", "say")},
        "team",
        {"inner": ("coordinate", ("one", "two")), "team": ("coordinate", ("inner",))},
    ),
}
AT_ONCE = {"agent": 5, "brief": 5, "brief shared": 5, "leader apart": 4, "member apart": 4}  # and 3 of the others
FAST = [
    [
        ("agent", "call_model:2:during"),
        ("agent", "call_tool:2:during"),
        ("agent", "call_tool:1:after"),
        ("agent", "call_model:2:left"),
        ("agent", "call_tool:2:left"),
        ("agent", "end_turn:1:before"),
        ("brief", "call_tool:1:during"),
        ("brief shared", "call_tool:2:after"),
    ],
    [
        ("leader apart", "call_model:2:during"),
        ("member apart", "call_tool:1:during"),
        ("one queue", "call_tool:5:during"),
    ],
    [
        ("route", "call_model:3:during"),
        ("sequential", "call_tool:3:after"),
        ("collaborate", "begin_execution:2:after"),
        ("nested", "end_member:3:before"),
    ],
]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(FAST[0], id="agent"),
        pytest.param(FAST[1], id="team", marks=pytest.mark.slow),
        pytest.param(FAST[2], id="modes", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_lost_or_repeated_when_a_worker_is_killed(stack: Stack, cases: list[tuple[str, str]]) -> None:
    _taken_up(play_all(stack, [(SCENES[name], point) for name, point in cases], len(cases)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_lost_or_repeated_wherever_a_worker_is_killed(stack: Stack, name: str) -> None:
    scene = SCENES[name]
    (undisturbed,) = play_all(stack, [(scene, "")], 1)
    outcomes = play_all(stack, [(scene, point) for point in points(undisturbed.steps)], AT_ONCE.get(name, 3))
    _taken_up(outcomes)
    print(f"{name}: {summary(outcomes)}; load {os.getloadavg()[0]:.0f}")


def _taken_up(outcomes: list[Outcome]) -> None:
    """Check how soon another worker went on with an agent. A team has more to do then, so its time is not checked."""
    for outcome in outcomes:
        assert outcome.scene.teams or outcome.seconds - outcome.without < TAKEN_UP_WITHIN, outcome
