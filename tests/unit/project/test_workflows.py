"""Workflows, issue forms and the pull-request template: least permissions, known versions, valid forms."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
INPUTS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(path)["jobs"]
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path).values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_ends_in_time(path: Path) -> None:
    assert read(path)["permissions"] == {"contents": "read"}
    for name, job in jobs(path).items():
        assert job.get("timeout-minutes"), f"{name} has no limit of time"
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_an_action_has_one_version_everywhere() -> None:
    used = {step["uses"] for path in WORKFLOWS for step in steps(path) if "uses" in step}
    names = [name.partition("@")[0] for name in used]
    assert len(names) == len(set(names)), sorted(used)
    assert all(re.search(r"@(v\d+|[0-9a-f]{40})$", name) for name in used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_scripts_and_tests_that_exist(path: Path) -> None:
    called = {word for step in steps(path) for word in re.findall(r"\b(?:scripts|tests|deploy)/[\w./-]+", str(step))}
    assert all((ROOT / word).exists() for word in called), called


def test_a_pull_request_gets_no_right_to_write_and_no_secret() -> None:
    text = (GITHUB / "workflows" / "checks.yml").read_text("utf-8")
    assert "pull_request_target" not in text and "secrets." not in text and "write" not in text
    for step in steps(GITHUB / "workflows" / "checks.yml"):
        assert "${{" not in step.get("run", ""), "text of a pull request would be run by the shell; pass it in `env`"


def test_each_supported_python_is_tried() -> None:
    supported = re.findall(
        r"Programming Language :: Python :: (3\.\d+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE
    )
    found = jobs(GITHUB / "workflows" / "checks.yml")
    for name in ("unit", "integration"):
        assert found[name]["strategy"]["matrix"]["python"] == supported, name
    assert set(found["passed"]["needs"]) == found.keys() - {"passed"}


def test_the_checks_are_those_of_scripts_test() -> None:
    own = re.findall(r"^check (.+)$", (ROOT / "scripts" / "test").read_text(), re.MULTILINE)
    run = {
        step["run"].removeprefix(".venv/bin/")
        for step in jobs(GITHUB / "workflows" / "checks.yml")["lint"]["steps"]
        if "run" in step
    }
    assert own and set(own) <= run
    darwin = next(shlex.split(line) for line in run if "--platform darwin" in line)
    assert f"darwin=({shlex.join(darwin)})" in (ROOT / "scripts" / "test").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_is_one_that_the_forge_takes(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"] and form["body"]
    names = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert names and len(names) == len(set(names))
    for field in form["body"]:
        assert field["type"] in INPUTS
        attributes = field["attributes"]
        assert attributes["value"] if field["type"] == "markdown" else attributes["label"]
        assert field["type"] != "dropdown" or all(isinstance(option, str) for option in attributes["options"])


def test_the_forms_name_commands_that_exist() -> None:
    commands = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    for path in FORMS:
        for command in re.findall(r"`(kubiya [a-z -]+)`", path.read_text("utf-8")):
            assert command == "kubiya --version" or f"\n{command} " in commands, command
