"""Tracing is off without an address, and a worker starts in any case."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from kubiya_worker.doctor import network
from kubiya_worker.doctor.check import PASS, WARN
from kubiya_worker.process import tracing
from kubiya_worker.process.self_check import HostFindings
from kubiya_worker.process.tracing import WorkerTracing
from kubiya_worker.settings.sources import resolve
from tests.support.stack import free_port

BASE = {"QUEUE_ID": "q", "KUBIYA_API_KEY": "key"}
URL = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def missing(name: str, package: str | None = None) -> Any:
        return None if name.startswith("opentelemetry.") else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", missing)


@pytest.mark.usefixtures("without_packages")
def test_without_the_extra_the_worker_starts_and_says_what_to_install() -> None:
    settings, findings = resolve({}, {**BASE, URL: "http://127.0.0.1:4318"}), HostFindings(str)
    assert WorkerTracing.open(settings, "w1", "q", findings).interceptor is None
    ((finding),) = findings.told()["findings"]
    assert finding["name"] == "tracing" and finding["remedy"] == "pip install 'kubiya-worker[otel]'"
    told = network.collector(settings)
    assert (told.status, told.remedy) == (WARN, "pip install 'kubiya-worker[otel]'")


def test_settings_reach_the_interceptor_and_the_collector() -> None:
    pytest.importorskip("opentelemetry.sdk.trace")
    from tests.support.collector import collector

    with collector() as running:
        variables = {
            **{URL: running.url, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20abc, x-team = ops,"},
            **{"KUBIYA_TRACE_RATIO": "0.25", "OTEL_TRACES_SAMPLER_ARG": "1", "KUBIYA_TRACE_MODELS": "true"},
        }
        settings = resolve({}, {**BASE, **variables})
        made = WorkerTracing.open(settings, "w1", "q", HostFindings(str))
        assert made.interceptor is not None
        assert (made.interceptor.ratio, made.interceptor.to_models, made.interceptor.worker) == (0.25, True, "w1")
        assert made.record is None
        sending = resolve({}, {**BASE, **variables, "OTEL_METRICS_EXPORTER": "otlp"})
        assert WorkerTracing.open(sending, "w1", "q", HostFindings(str)).record is not None
        assert settings.otlp_header_values == {"authorization": "Bearer abc", "x-team": "ops"}
        assert "Bearer abc" in settings.secrets and "abc" not in repr(settings)
        assert network.collector(settings).status == PASS
        assert running.headers[-1]["authorization"] == "Bearer abc"
        running.status = 401
        assert network.collector(settings).remedy == "Check OTEL_EXPORTER_OTLP_HEADERS"
        running.status = 500
        assert "answers 500" in network.collector(settings).message


def test_a_collector_that_is_away_is_a_warning() -> None:
    pytest.importorskip("opentelemetry.sdk.trace")
    told = network.collector(resolve({}, {**BASE, URL: f"http://127.0.0.1:{free_port()}"}))
    assert told.status == WARN and "cannot be reached" in told.message


@pytest.mark.parametrize("given", ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"])
def test_the_path_is_added_where_it_is_missing(given: str) -> None:
    settings = resolve({}, {**BASE, URL: given})
    assert tracing.traces_url(settings.otlp_endpoint or "") == "http://c:4318/v1/traces"
