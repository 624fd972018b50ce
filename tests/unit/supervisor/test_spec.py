"""A spec is read from JSON, and an error names the wrong field."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from kubiya_worker._supervisor.spec import Spec, SpecError

LEAST: dict[str, Any] = {"argv": ["/bin/true"], "pid_file": "/r/p", "log_file": "/r/l", "state_file": "/r/s"}


def made(**fields: Any) -> Spec:
    return Spec.from_json(json.dumps(LEAST | fields))


def test_json_there_and_back_is_the_same_spec() -> None:
    spec = made(env={"A": "b"}, exit_classes={"once": [3], "done": []}, info_lines=["x"], watchdog=1.5)
    assert Spec.from_json(json.dumps(dataclasses.asdict(spec))) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("argv", []),
        ("argv", "/bin/true"),
        ("argv", [1]),
        ("pid_file", "relative"),
        ("cwd", ""),
        ("name", "two words"),
        ("env", {"A": 1}),
        ("env", {"A=B": "c"}),
        ("unset", "A"),
        ("secret_names", "A"),
        ("grace_period", -1),
        ("drains", "SIGSORRY"),
        ("drains", "SIGKILL"),
        ("drains", 3),
        ("grace_period", True),
        ("watchdog", "60"),
        ("backoff_first", 0),
        ("backoff_longest", 1),
        ("max_size", 10),
        ("max_backups", 1.5),
        ("compress", 1),
        ("exit_classes", {"twice": [1]}),
        ("exit_classes", {"once": [256]}),
        ("exit_classes", {"once": [1], "done": [1]}),
        ("colour", "red"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        made(**{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


@pytest.mark.parametrize("field", LEAST)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(SpecError, match=f"^{field}: is missing"):
        Spec.from_json(json.dumps({k: v for k, v in LEAST.items() if k != field}))


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"^spec: "):
        Spec.from_json(text)


def test_the_environment_is_not_shown() -> None:
    assert "hunter2" not in repr(made(env={"KEY": "hunter2"}))


def test_classes_of_exit_codes() -> None:
    spec = made()
    assert [spec.class_of(code) for code in (0, 64, 69, 75, 77, 78, 1, 134, None)] == (
        ["done", "once", "network", "network", "once", "once", "crash", "crash", "crash"]
    )
