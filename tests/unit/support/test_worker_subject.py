"""A worker in a bundle: which of its variables are shown, and when its logs are left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kubiya_worker.support.worker_subject import WorkerSubject

OVERWRITTEN = "*" * 8


def worker(environ: dict[str, str] | None, redaction: str | None = None) -> WorkerSubject:
    report: Any = SimpleNamespace(live_status={"redaction": redaction})
    return WorkerSubject(report, environ)


@pytest.mark.parametrize(
    ("environ", "readable"),
    [
        (None, {}),
        ({}, {}),
        ({"TZ": "UTC", "OPENAI_API_KEY": OVERWRITTEN}, {"TZ": "UTC"}),
    ],
)
def test_variables_whose_secrets_are_overwritten_are_not_readable(
    environ: dict[str, str] | None, readable: dict[str, str]
) -> None:
    assert worker(environ).readable == readable


@pytest.mark.parametrize(
    ("environ", "own", "redaction", "names"),
    [
        ({"OPENAI_API_KEY": OVERWRITTEN}, {}, None, ["OPENAI_API_KEY"]),
        ({"OPENAI_API_KEY": OVERWRITTEN}, {"OPENAI_API_KEY": "sk-12345"}, None, []),  # as long as what is overwritten
        ({"OPENAI_API_KEY": OVERWRITTEN}, {}, "/run/x", []),  # the worker removes it itself
        (None, {}, None, []),
    ],
)
def test_a_secret_is_unknown_where_nobody_can_remove_it(
    environ: dict[str, str] | None, own: dict[str, str], redaction: str | None, names: list[str]
) -> None:
    assert worker(environ, redaction).unknown_secrets(own) == names
