"""Dashboard and alerts speak of metrics that there are; promtool takes the rules."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml

from kubiya_worker.process import metrics
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.process.metrics import METRICS
from tests.support.stack import BIN, Stack, free_port, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "alerts" / "kubiya-worker.yaml"
DASHBOARD = DEPLOY / "grafana" / "kubiya-worker.json"
KNOWN = {m.full: m for m in METRICS}
OURS = r"kubiya_worker_[a-z_]+|gen_ai_(?!token|response)[a-z_]+"  # not the names of labels


def _used(text: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(OURS, text)}


def _expressions() -> list[str]:
    """Return all expressions of the alerts and of the dashboard, whose variables stand for everything."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [r["expr"] for r in rules] + [t["expr"] for p in panels for t in p["targets"]]
    return [re.sub(r"\$(instance|queue)", ".*", each) for each in found]


def test_alerts_and_dashboard_use_metrics_of_the_table_only() -> None:
    expressions = _expressions()
    assert len(expressions) > 40
    for expression in expressions:
        assert _used(expression) <= KNOWN.keys(), expression


def test_each_panel_of_workers_follows_the_variables() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "queue", "instance"]
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            chosen = target["expr"].count('instance=~"$instance"') + target["expr"].count('queue=~"$queue"')
            assert chosen == len(re.findall(OURS, target["expr"])), target["expr"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_the_dashboard_shows_every_metric_but_those_for_machines() -> None:
    shown = _used(DASHBOARD.read_text())
    assert KNOWN.keys() - shown == {"kubiya_worker_uptime_seconds", "kubiya_worker_slots"}


def test_each_alert_says_what_to_do() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["action"] and rule["annotations"]["summary"], rule["alert"]
            assert rule["labels"]["severity"] in ("warning", "critical")


@pytest.fixture(scope="module")
def promtool() -> Iterator[Path]:
    found = program("promtool")
    if found is None:
        pytest.skip("promtool is not here (Debian: prometheus)")
    yield Path(found)


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")


def test_promtool_takes_the_rules(promtool: Path) -> None:
    run = _run(promtool, "check", "rules", "--lint-fatal", str(ALERTS))
    assert run.returncode == 0 and "SUCCESS: 18 rules found" in run.stdout, run.stdout + run.stderr


def test_each_alert_fires_when_it_has_to_and_only_then(promtool: Path, tmp_path: Path) -> None:
    """tests/deploy/alerts.yaml: series of a day that is good, and of one for each alert."""
    tests = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
    tests["rule_files"] = [str(ALERTS)]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    run = _run(promtool, "test", "rules", str(tmp_path / "tests.yaml"))
    assert run.returncode == 0, run.stdout + run.stderr
    alerts = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    fired = {rule["alertname"] for test in tests["tests"] for rule in test["alert_rule_test"] if rule["exp_alerts"]}
    quiet = {rule["alertname"] for test in tests["tests"] for rule in test["alert_rule_test"] if not rule["exp_alerts"]}
    assert fired == quiet == alerts


def test_promtool_finds_nothing_to_say_of_our_pages(promtool: Path, stack: Stack) -> None:
    filled = metrics.Metrics()
    for metric in METRICS:
        labels = ["x"] * len(metric.labels)
        if metric.kind == metrics.HISTOGRAM:
            filled.observe(metric.name, 0.2, *labels)
        elif metric.kind == metrics.COUNTER:
            filled.count(metric.name, *labels)
        elif labels and metric.name != "info":
            filled.set_gauge(metric.name, 1, *labels)
    page = metrics.exposition(filled, ActivityCounters(), dict, 10, ("q", "w"))
    assert set(KNOWN) <= set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    of_control_plane = requests.get(f"{stack.url}/metrics", timeout=60).text
    named = set(re.findall(r"kubiya_control_plane_[a-z_]+", "\n".join(_expressions())))
    assert named == set(re.findall(r"^# TYPE (\S+)", of_control_plane, re.MULTILINE)) - {"kubiya_control_plane_info"}
    for text in (page, of_control_plane):
        run = _run(promtool, "check", "metrics", input=text)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def _run(program: Path, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], input=input, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as made:
        yield made


@pytest.fixture
def prometheus(stack: Stack, tmp_path: Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A real one with our rules, that scrapes a real worker and the control plane; called with a path of its API."""
    found = program("prometheus")
    if found is None:
        pytest.skip("prometheus is not here (Debian: prometheus)")
    worker = stack.worker(KUBIYA_METRICS_PORT="0")
    url = re.search(r"http://(\S+)/metrics", worker.expect("endpoint.listening"))
    assert url
    jobs = {"kubiya-worker": url[1], "kubiya-control-plane": f"127.0.0.1:{stack.port}"}
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": n, "static_configs": [{"targets": [t]}]} for n, t in jobs.items()],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    argv = [found, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    stack.start([*argv, f"--web.listen-address=127.0.0.1:{port}"])

    def ask(path: str) -> dict[str, Any]:
        try:
            answer = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=60).json()
        except (requests.RequestException, ValueError):
            return {}  # it is starting
        assert answer["status"] == "success", answer
        found: dict[str, Any] = answer["data"]
        return found

    yield ask


def test_a_real_prometheus_scrapes_a_worker_and_the_control_plane(
    prometheus: Callable[[str], dict[str, Any]], stack: Stack
) -> None:
    def value(expression: str) -> float | None:
        found = prometheus(f"query?query={quote(expression)}").get("result")
        return float(found[0]["value"][1]) if found else None

    def shows(expression: str, wanted: float) -> bool:
        return value(expression) == wanted

    wait_until(partial(shows, "sum(up)", 2), 60, "both are scraped")
    stack.wait(stack.execute("hello", agent=stack.agent("scraped")), "completed", "waiting_for_input")
    wait_until(lambda: (value("sum(kubiya_worker_model_tokens_total)") or 0) > 0, 60, "the run's tokens are there")
    for expression, wanted in {  # each as of a scrape, which may be older than the run, or have taken too long
        "kubiya_worker_ready": 1,
        "kubiya_worker_slots_free": 10,
        "sum(temporal_num_pollers) > bool 0": 1,  # the SDK's figures are on the same page
        "kubiya_control_plane_workers_live": 1,
        "kubiya_worker_approvals_waiting": 0,
    }.items():
        wait_until(partial(shows, expression, wanted), 60, f"{expression} is {wanted}")

    def scraped() -> bool:
        return {target["lastError"] for target in prometheus("targets").get("activeTargets", [])} == {""}

    wait_until(scraped, 60, "both are scraped without an error")
    for expression in _expressions():
        assert "result" in prometheus(f"query?query={quote(expression)}"), expression
    wait_until(lambda: _evaluated(prometheus("rules")), 60, "every rule was evaluated")
    wait_until(lambda: prometheus("alerts").get("alerts") == [], 60, "no alert fires, or is about to")


def _evaluated(data: dict[str, Any]) -> bool:
    rules = [rule for group in data.get("groups", []) for rule in group["rules"]]
    assert all(rule["health"] in ("ok", "unknown") for rule in rules), rules
    return len(rules) == 18 and all(rule["health"] == "ok" for rule in rules)
