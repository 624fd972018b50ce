"""Dashboard and alerts speak of metrics that there are; promtool takes the rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kubiya_worker.process.metrics import METRICS, PREFIX

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "alerts" / "kubiya-worker.yaml"
DASHBOARD = DEPLOY / "grafana" / "kubiya-worker.json"
KNOWN = {PREFIX + m.name: m for m in METRICS}


def _used(text: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"kubiya_worker_[a-z_]+", text)}


def test_alerts_and_dashboard_use_metrics_of_the_table_only() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [r["expr"] for r in rules] + [t["expr"] for p in panels for t in p["targets"]]
    assert len(expressions) > 20
    for expression in expressions:
        assert _used(expression) <= KNOWN.keys(), expression


def test_the_dashboard_shows_every_metric_but_those_for_machines() -> None:
    shown = _used(DASHBOARD.read_text())
    assert KNOWN.keys() - shown == {PREFIX + name for name in ("info", "uptime_seconds", "slots")}


def test_each_alert_says_what_to_do() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["action"] and rule["annotations"]["summary"], rule["alert"]
            assert rule["labels"]["severity"] in ("warning", "critical")


def test_promtool_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian: prometheus)")
    argv = [promtool, "check", "rules", str(ALERTS)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
