"""The report of a chaos run is one JSON object, and tells how to repeat a breach."""

from __future__ import annotations

import json

import pytest

from scripts.chaos import __main__ as program
from scripts.chaos import laws
from scripts.chaos.plan import Fault
from scripts.chaos.run import Outcome, Report


def report(*breaches: str) -> Report:
    verdict = laws.Verdict("nothing is lost", 3, list(breaches))
    verdict.notes["again, killed"] += 1
    times = [float(second) for second in range(1, 21)]
    outcomes = [Outcome(Fault(n, "kill-worker", 0.0, 0.0), time) for n, time in enumerate(times, 1)]
    missed = Outcome(Fault(21, "kill-tool", 0.0, 0.0), missed=True)
    return Report(5, [*outcomes, missed], [verdict], executions=40)


def test_a_report_is_one_json_object() -> None:
    wire = json.loads(json.dumps(program.wire(report())))
    assert wire["seed"] == 5 and wire["broken"] is False
    assert wire["laws"] == [{"law": "nothing is lost", "tried": 3, "breaches": [], "notes": {"again, killed": 1}}]
    assert wire["recovery"]["all"] == {
        "n": 20,
        "median": 10.5,
        "p95": 20.0,
        "max": 20.0,
    }  # what was missed is no recovery


def test_a_breach_is_told_with_the_way_to_repeat_it() -> None:
    assert not any("BROKEN" in line for line in program.summary(report()))
    told = program.summary(report("t1 is lost"))
    assert any(line.startswith("BROKEN") and "nothing is lost" in line for line in told)
    assert "         t1 is lost" in told
    assert told[-1].endswith("scripts/bench/chaos --faults 21 --seed 5")


def test_the_way_to_repeat_it_names_the_replicas() -> None:
    found = report("t1 is lost")
    found.replicas = 2
    assert program.summary(found)[-1].endswith("--faults 21 --seed 5 --database postgresql --replicas 2")
    assert program.wire(found)["replicas"] == 2


@pytest.mark.parametrize("given", [["--replicas", "2"], ["--database", "postgresql"]])
def test_several_servers_need_a_shared_database(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", *given])
    with pytest.raises(SystemExit):
        program.main()
    assert "one control plane with SQLite, and 2 with --database postgresql" in capsys.readouterr().err
