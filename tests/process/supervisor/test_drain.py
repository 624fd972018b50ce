"""A drain, as the supervisor sees it: the child has all the time it needs, and nobody is started in its place."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from tests.support.processes import runs
from tests.support.supervised import Supervised, until

DRAINS: dict[str, Any] = {"drains": "SIGQUIT", "grace_period": 0.2, "kill_after": 0.2}
LONG = "finish:600"


def test_a_drain_outlasts_the_grace_period_and_ends_both(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Supervised(tmp_path, f"finish:{gate}", "ready", "wait", **DRAINS) as supervised:
        worker = supervised.ready()["worker_pid"]
        assert "SIGQUIT" in supervised.info_file.read_text()
        supervised.signal(signal.SIGQUIT)
        until(lambda: supervised.state()["state"] == "draining")
        supervised.signal(signal.SIGQUIT)
        supervised.signal(signal.SIGHUP)
        time.sleep(1)  # more than the grace period of a stop, and what follows it
        assert runs(worker)
        gate.touch()
        assert supervised.ended() == 0
        assert supervised.text().count("finishing") == supervised.text().count("finished") == 1
        state = supervised.state()
        assert (state["state"], state["exit_code"], state["deaths"][-1]["class"]) == ("stopped", 0, "asked")
        assert not supervised.pid_file.exists() and not runs(worker)


def test_a_stop_ends_a_drain_with_its_grace_period(tmp_path: Path) -> None:
    fields = {**DRAINS, "grace_period": 20}
    with Supervised(tmp_path, LONG, "slowly:0.3", "ready", "wait", **fields) as supervised:
        supervised.ready()
        supervised.signal(signal.SIGQUIT)
        until(lambda: "finishing" in supervised.text())
        supervised.signal(signal.SIGTERM)
        assert supervised.ended() == 0
        assert "drained" in supervised.text() and "finished" not in supervised.text()


def test_a_stop_of_a_drain_escalates_as_any_other(tmp_path: Path) -> None:
    with Supervised(tmp_path, LONG, "stubborn", "ready", "wait", **DRAINS) as supervised:
        supervised.ready()
        supervised.signal(signal.SIGQUIT)
        until(lambda: "finishing" in supervised.text())
        supervised.signal(signal.SIGTERM)
        assert supervised.ended() == 75
        assert supervised.state()["deaths"][-1]["signal"] == "SIGKILL"


def test_a_child_that_dies_while_it_drains_is_not_started_again(tmp_path: Path) -> None:
    with Supervised(tmp_path, "finish:0", "ready", "wait", **{**DRAINS, "drains": "SIGUSR1"}) as supervised:
        supervised.ready()
        supervised.signal(signal.SIGQUIT)  # as SIGUSR1, of which this child dies
        assert supervised.ended() == 128 + signal.SIGUSR1
        state = supervised.state()
        assert (state["state"], len(state["deaths"]), state["deaths"][0]["class"]) == ("failed", 1, "crash")
        assert "while it drained" in state["why"] and not supervised.pid_file.exists()


def test_a_child_that_hangs_while_it_drains_is_noticed(tmp_path: Path) -> None:
    with Supervised(tmp_path, "hush", "beat:0.1", "ready", "wait", **DRAINS, watchdog=1.5) as supervised:
        supervised.ready()
        supervised.signal(signal.SIGQUIT)
        assert supervised.ended() == 128 + signal.SIGABRT
        assert supervised.state()["deaths"][-1]["class"] == "hung"


def test_a_child_may_drain_by_itself(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    steps = ("ready", "notify:DRAINING=1", f"await:{gate}", "notify:STOPPING=1", "exit:0")
    with Supervised(tmp_path, *steps, **{**DRAINS, "grace_period": 1}) as supervised:
        supervised.ready()
        until(lambda: supervised.state()["state"] == "draining")
        time.sleep(1.5)  # more than the grace period of a stop, and what follows it
        gate.touch()
        assert supervised.ended() == 0
        assert supervised.state()["state"] == "stopped" and not supervised.lines("forced")


def test_a_drain_between_two_starts_is_the_end(tmp_path: Path) -> None:
    waits: dict[str, Any] = {"backoff_first": 10_000, "backoff_longest": 10_000}
    with Supervised(tmp_path, "exit:1", **DRAINS, **waits) as supervised:
        until(lambda: supervised.state().get("state") == "backing_off")
        supervised.signal(signal.SIGQUIT)
        assert supervised.ended() == 0


def test_a_child_that_is_not_ready_has_nothing_to_finish(tmp_path: Path) -> None:
    with Supervised(tmp_path, "wait", **DRAINS) as supervised:
        until(lambda: supervised.state().get("child"))
        supervised.signal(signal.SIGQUIT)
        assert supervised.ended() == 0
        assert supervised.state()["deaths"][-1]["signal"] == "SIGQUIT"


def test_a_child_that_knows_no_drain_is_stopped(tmp_path: Path) -> None:
    with Supervised(tmp_path, LONG, "slowly:0.1", "ready", "wait") as supervised:
        supervised.ready()
        supervised.signal(signal.SIGQUIT)
        assert supervised.ended() == 0
        assert "finishing" not in supervised.text()
