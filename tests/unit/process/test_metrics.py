"""The page of metrics: names from the table, right arithmetic, labels that cannot break it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubiya_worker.process import metrics, metrics_server
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.process.metrics import METRICS, Metrics

LINE = re.compile(r'^(?:kubiya_worker|gen_ai)_[a-z_]+(\{([a-z_]+="(?:[^"\\]|\\.)*",?)+\})? [-+0-9.e]+$')


def page(filled: Metrics, **condition: object) -> str:
    return metrics.exposition(filled, ActivityCounters(), lambda: condition, 10, ("q", "w-1"))


def test_every_line_is_well_formed_and_every_name_is_in_the_table() -> None:
    filled = Metrics()
    filled.count("tool_calls_total", 'a"b\\c\nd', "success")
    filled.observe("step_seconds", 0.03, "call_model", "completed")
    filled.observe("gen_ai_client_token_usage", 20_000, "chat", "acme", "big", "big-2026", "input")
    names = {m.full for m in METRICS}
    for line in page(filled, polling=True, event_loop_lag=0.1).splitlines():
        if line.startswith("#"):
            assert line.split()[2] in names
            continue
        assert LINE.match(line), line
        assert re.sub(r"_(bucket|sum|count)$", "", line.split("{")[0].split()[0]) in names


def test_the_guides_six_are_there_from_the_first_scrape() -> None:
    text = page(Metrics())
    for name in ("active_tasks", "completed_tasks_total", "failed_tasks_total", "cpu_percent", "memory_bytes"):
        assert re.search(rf"^kubiya_worker_{name} \d", text, re.M), name
    assert re.search(r"^kubiya_worker_uptime_seconds \d", text, re.M)


def test_buckets_are_cumulative_and_agree_with_the_count() -> None:
    filled = Metrics()
    for value in (0.001, 0.01, 0.2, 1000.0):
        filled.observe("step_seconds", value, "call_tool", "completed")
    counts = [int(n) for n in re.findall(r"step_seconds_bucket\{[^}]*\} (\d+)", page(filled))]
    assert counts == sorted(counts)
    assert (counts[0], counts[-2], counts[-1]) == (2, 3, 4)
    assert 'kubiya_worker_step_seconds_count{type="call_tool",outcome="completed"} 4' in page(filled)


def test_a_large_counter_keeps_all_its_digits() -> None:
    filled = Metrics()
    filled.count("tool_calls_total", "shell", "success", by=1_234_567)
    assert 'tool_calls_total{tool="shell",outcome="success"} 1234567' in page(filled)
    filled.observe("step_seconds", 1_234_567.25, "call_tool", "completed")
    assert 'step_seconds_sum{type="call_tool",outcome="completed"} 1234567.25' in page(filled)


def test_a_name_that_is_not_in_the_table_or_has_other_labels_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Metrics().count("no_such")
    with pytest.raises(AssertionError):
        Metrics().count("tool_calls_total", "one label only")


@pytest.mark.parametrize(
    ("condition", "lives", "takes_work"),
    [
        ({"polling": True, "state": "polling"}, True, True),
        ({"polling": False, "state": "waiting"}, True, False),
        ({"polling": False, "state": "draining"}, True, False),
        ({"polling": True, "event_loop_blocked": True, "event_loop_silent": 31.0}, False, False),
        ({"polling": False, "stuck": True}, False, False),
        ({}, True, False),
    ],
)
def test_health_is_what_the_condition_says(condition: dict[str, object], lives: bool, takes_work: bool) -> None:
    assert (metrics_server.alive(condition)[0], metrics_server.ready(condition)[0]) == (lives, takes_work)


def test_the_reference_page_is_current() -> None:
    """Regenerate with scripts/docs."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
    assert metrics.reference() in page.read_text()


def test_restarts_are_those_that_the_supervisor_has_counted(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"restarts": {"crash": 2, "hung": 0}}')
    page = metrics.exposition(metrics.Metrics(), ActivityCounters(), dict, 10, ("q", "w"), str(state))
    assert 'kubiya_worker_restarts_total{reason="crash"} 2' in page.splitlines()
    assert 'kubiya_worker_restarts_total{reason="hung"} 0' in page.splitlines()
    for text in ("", "[]", '{"restarts": []}'):
        state.write_text(text)
        assert metrics.restarts(str(state)) == {}
    assert metrics.restarts(None) == metrics.restarts(str(tmp_path / "none")) == {}


def test_the_conventions_metrics_have_their_buckets_and_prometheus_names() -> None:
    filled = Metrics()
    about = ("chat", "acme", "big", "big-2026")
    filled.observe("gen_ai_client_token_usage", 20_000, *about, "input")
    filled.observe("gen_ai_client_operation_duration_seconds", 0.5, *about, "")
    text = page(filled)
    tokens = re.findall(r'gen_ai_client_token_usage_bucket\{.*le="([^"]+)"\} 1$', text, re.M)
    assert tokens == ["65536", "262144", "1048576", "4194304", "16777216", "67108864", "+Inf"]
    assert 'gen_ai_token_type="input",le="16384"} 0' in text
    times = re.findall(r'gen_ai_client_operation_duration_seconds_bucket\{.*le="([^"]+)"\} 1$', text, re.M)
    assert times == ["0.64", "1.28", "2.56", "5.12", "10.24", "20.48", "40.96", "81.92", "+Inf"]
    assert "kubiya_worker_gen_ai" not in text
