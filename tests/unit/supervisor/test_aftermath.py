"""The end of a run is followed by what was asked of the supervisor meanwhile, and by how the run ended."""

from __future__ import annotations

import pytest

from kubiya_worker._supervisor.aftermath import Finish, RunFacts, decide, kind_of
from kubiya_worker._supervisor.backoff import Death, StartAt
from kubiya_worker._supervisor.posix.child import ChildExit
from kubiya_worker._supervisor.spec import Spec

SPEC = Spec(argv=("/bin/true",), pid_file="/run/p", log_file="/run/l", state_file="/run/s", give_up_after=3)
CLEAN, BROKEN, KILLED = ChildExit(code=0), ChildExit(code=3), ChildExit(signal="SIGKILL")
ASKED = "SIGTERM"


def run(intent: str = "", *, ready: bool = True, hung: bool = False, killed: bool = False) -> RunFacts:
    return RunFacts(intent, ready, hung, killed)


def after(facts: RunFacts, end: ChildExit, *before: Death, spec: Spec = SPEC) -> Finish | StartAt:
    deaths = [*before, Death(kind_of(facts, end, spec), end.shell_code)]
    return decide(facts, end, deaths, ASKED, 100.0, lambda: 0.5, spec)


@pytest.mark.parametrize("end", [CLEAN, BROKEN, KILLED])
def test_a_stop_that_was_asked_for_is_no_crash(end: ChildExit) -> None:
    assert kind_of(run("stop"), end, SPEC) == "asked"
    assert after(run("stop"), end) == Finish(0, "stopped", ASKED, by_itself=False)
    assert after(run("stop", killed=True), end) == Finish(75, "stopped", ASKED, by_itself=False)


@pytest.mark.parametrize("end", [CLEAN, BROKEN, KILLED])
def test_a_restart_that_was_asked_for_starts_at_once(end: ChildExit) -> None:
    assert after(run("restart", hung=True), end, Death("crash", 1), Death("crash", 1)) == StartAt(100.0)


def test_a_drain_is_done_when_the_work_was_finished_or_never_begun() -> None:
    done = Finish(0, "stopped", ASKED, by_itself=False)
    assert after(run("drain"), CLEAN) == done
    assert after(run("drain", ready=False), KILLED) == done


@pytest.mark.parametrize(
    ("facts", "end", "code"),
    [(run("drain"), BROKEN, 3), (run("drain"), KILLED, 137), (run("drain", hung=True), CLEAN, 75)],
)
def test_a_drain_that_was_cut_off_has_failed(facts: RunFacts, end: ChildExit, code: int) -> None:
    assert after(facts, end) == Finish(code, "failed", f"it ended while it drained: {end}", by_itself=True)


def test_a_crash_starts_again_after_a_delay_and_a_finished_child_does_not() -> None:
    assert after(run(), BROKEN) == StartAt(101.0)  # half of the first 2 s
    assert after(run(), CLEAN) == Finish(0, "stopped", "it has finished", by_itself=True)
    assert after(run(hung=True), CLEAN) == StartAt(101.0)


def test_the_reason_of_giving_up_says_how_the_last_one_ended() -> None:
    end = ChildExit(code=78, why="no such program")
    told = after(run(ready=False), end)
    assert told == Finish(78, "failed", "no such program; exit code 78: another try changes nothing", by_itself=True)
    crashes = after(run(), KILLED, Death("crash", 1), Death("crash", 1))
    assert crashes == Finish(137, "failed", "3 crashes in a row", by_itself=True)
