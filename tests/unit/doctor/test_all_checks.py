"""A report has the checks that its settings allow; two findings join several questions: settings, and endpoints."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubiya_worker.doctor import all_checks, network
from kubiya_worker.doctor.check import FAIL, PASS, WARN, Finding
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.settings import Settings, resolve

BASE = {"KUBIYA_API_KEY": "k", "QUEUE_ID": "q", "CONTROL_PLANE_URL": "https://plane.example"}


def settings(**environ: str) -> Settings:
    return resolve({}, {**BASE, **environ}, "/dev/null")


def names(known: Settings | None) -> list[str]:
    problem = None if known else ConfigurationError("x", remedy="y")
    return [check.name for check in all_checks.checks(known, problem, Path("/nonexistent"), BASE)[0]]


def test_without_settings_only_the_host_is_checked() -> None:
    of_host = names(None)
    assert of_host[-1] == "settings" and "dns" not in of_host
    every = names(settings())
    assert every[: len(of_host)] == of_host
    assert every[len(of_host) :][:3] == ["long commands", "folders", "proxy"]


@pytest.mark.parametrize(
    ("environ", "more"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, ["tracing"]),
        ({"KUBIYA_ENFORCE_ENABLED": "true"}, ["policy service"]),
    ],
)
def test_what_is_switched_on_is_checked(environ: dict[str, str], more: list[str]) -> None:
    assert names(settings(**environ)) == [*names(settings()), *more]


def test_wrong_settings_are_the_finding_of_their_check() -> None:
    problem = ConfigurationError("wrong", remedy="mend it")
    with pytest.raises(ConfigurationError, match="wrong"):
        all_checks.settings_finding(None, problem, BASE)


@pytest.mark.parametrize(
    ("variable", "status", "words", "remedy"),
    [
        ("UNRELATED", PASS, "queue 'q' at https://plane.example", ""),
        ("KUBIYA_WORKSPACES", WARN, "did you mean KUBIYA_WORKSPACE?", 'export KUBIYA_WORKSPACE="$KUBIYA_WORKSPACES"'),
    ],
)
def test_a_misspelt_variable_is_named_with_the_right_one(variable: str, status: str, words: str, remedy: str) -> None:
    found = all_checks.settings_finding(settings(), None, {**BASE, variable: "x"})
    assert (found.status, words in found.message, found.remedy.startswith(remedy)) == (status, True, True)


@pytest.mark.parametrize(
    ("routes", "failing", "wanted"),
    [
        ({}, "", Finding(PASS, "asked http://registered with k0")),
        ({"a": ("http://a", "k1"), "b": ("http://b", "k2")}, "", Finding(PASS, "2 models")),
        ({"a": ("http://a", "k1"), "b": ("http://b", "k2")}, "http://b", Finding(FAIL, "asked http://b with k2")),
        ({"a": (None, None)}, "", Finding(PASS, "1 models")),
    ],
)
def test_the_endpoints_of_the_model_list_come_before_the_registered_one(
    monkeypatch: pytest.MonkeyPatch, routes: dict[str, Any], failing: str, wanted: Finding
) -> None:
    listed = {name: SimpleNamespace(base_url=url, key=key) for name, (url, key) in routes.items()}
    registered = SimpleNamespace(base_url="http://registered", api_key="k0")

    def model(url: str, key: str) -> Finding:
        return Finding(FAIL if url == failing else PASS, f"asked {url} with {key}")

    monkeypatch.setattr(all_checks, "routes_of", lambda *_: listed)
    monkeypatch.setattr(all_checks, "endpoint_of", lambda *_: registered)
    monkeypatch.setattr(network, "model", model)
    probe: Any = SimpleNamespace(registration={})
    found = all_checks.model_finding(settings(), probe)
    assert found.status == wanted.status
    assert found.message.startswith(wanted.message)
