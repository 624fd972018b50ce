"""A worker loads what runs need right after it is ready, so a package that is replaced then fails nothing."""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import ROOT, Process, Stack

SKILLS = [
    {"name": "files", "type": "file_system", "configuration": {}},
    {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}},
]
STEPS: list[dict[str, Any]] = [{"tools": [{"name": "shell", "arguments": {"command": "true"}}]}, {"text": "done"}]
BROKEN = "raise ImportError('half of a package')\n"


@pytest.fixture(scope="module")
def one_stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        yield running


@pytest.fixture
def stack(one_stack: Stack) -> Iterator[Stack]:
    """The stack of all tests here, with no worker of another one."""
    with one_stack.lent() as lent:
        yield lent


@pytest.fixture
def endpoint() -> Iterator[ModelEndpoint]:
    with ModelEndpoint(by_step=STEPS) as running:
        yield running


def worker_of(stack: Stack, endpoint: ModelEndpoint, **variables: str) -> Process:
    variables = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test", **variables}
    return stack.worker("default", ready=True, kill_at="", **variables)


def ran(stack: Stack, agent: str) -> str:
    return str(stack.wait(stack.execute("go", agent=agent), timeout=90)["status"])


def expect_all_loaded(worker: Process) -> None:
    worker.expect("worker.loaded")
    if importlib.util.find_spec("mcp"):
        worker.expect("worker.mcp_client_loaded")


def break_all(package: Path) -> None:
    """Leave a package as one that is being replaced: none of its modules can be imported."""
    for folder in ("models", "activities", "workflows", "control_plane"):
        for module in (package / folder).rglob("*.py"):
            module.write_text(BROKEN)
    for cache in package.rglob("__pycache__"):
        shutil.rmtree(cache)


# Packages that a start may load before its first poll: Temporal's SDK, logs, HTTP, facts of the host. Each of them
# costs every start time, so whatever else a worker needs is loaded later.
BEFORE_THE_FIRST_POLL = {"google", "kubiya_worker", "nexusrpc", "psutil", "structlog", "temporalio", "urllib3"}
SMALL = {"greenlet", "typing_extensions"}  # what those load where it is installed
LEFT_OUT = {"pydantic", "rich"}  # what those would load; the attempt is in Python's list
THE_INTERPRETERS = {"sitecustomize", "usercustomize", "_distutils_hack", "imported package"}  # and the list's heading
LATER = re.compile(
    r"kubiya_worker\.(activities|models|server|cli|mcp_server|extensions|process\.runtime|tools\.(base|toolset|mcp|shell))\b"
)


@pytest.mark.timeout(240)
def test_a_start_loads_before_its_first_poll_only_what_polling_needs(stack: Stack, endpoint: ModelEndpoint) -> None:
    worker = worker_of(stack, endpoint, PYTHONPROFILEIMPORTTIME="1")
    until = worker.lines.index(worker.expect("worker.ready"))
    names = [line.rpartition("|")[2].strip() for line in worker.lines[:until] if line.startswith("import time:")]
    assert "temporalio.worker" in names
    packages = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - THE_INTERPRETERS
    missing = {name for name in LEFT_OUT if not any(each.startswith(f"{name}.") for each in names)}
    loaded = {name for name in packages - missing if importlib.util.find_spec(name) and "__editable__" not in name}
    assert loaded <= BEFORE_THE_FIRST_POLL | SMALL
    assert not [name for name in names if LATER.match(name)]


@pytest.mark.timeout(240)
def test_a_start_keeps_what_it_compiles_of_dataclasses_for_the_next_one(
    stack: Stack, endpoint: ModelEndpoint, tmp_path: Path
) -> None:
    sizes = []
    for _ in range(2):
        worker = worker_of(stack, endpoint, PYTHONDONTWRITEBYTECODE="", HOME=str(tmp_path))
        worker.expect("worker.loaded")
        worker.kill()
        kept = {file.name.partition(".")[0]: file.stat().st_size for file in tmp_path.glob(".kubiya/bytecode/*")}
        sizes.append(kept)
    assert set(sizes[0]) == {"start", "steps"}
    assert sizes[1]["start"] == sizes[0]["start"]
    # What is loaded after the first poll depends a little on what the worker does meanwhile.
    assert sizes[0]["steps"] <= sizes[1]["steps"] < 1.02 * sizes[0]["steps"]


@pytest.mark.timeout(240)
def test_a_first_run_imports_nothing(stack: Stack, endpoint: ModelEndpoint) -> None:
    worker = worker_of(stack, endpoint, PYTHONPROFILEIMPORTTIME="1", LOG_LEVEL="debug")
    expect_all_loaded(worker)
    before = len(worker.lines)
    assert ran(stack, stack.agent("first", model_id="gpt-test", skills=SKILLS)) == "completed"
    names = {line.rpartition("|")[2].strip() for line in worker.lines if line.startswith("import time:")}
    assert not {"openai", "pydantic_ai"} & names  # a worker without extras does not have them
    imported = [line.rpartition("|")[2].strip() for line in worker.lines[before:] if line.startswith("import time:")]
    assert not imported, "\n".join(imported)


@pytest.mark.timeout(240)
def test_without_an_endpoint_a_run_imports_nothing_either_and_what_asks_models_is_left_out(stack: Stack) -> None:
    worker = stack.worker("default", ready=True, kill_at="", PYTHONPROFILEIMPORTTIME="1", LOG_LEVEL="debug")
    expect_all_loaded(worker)
    before = len(worker.lines)
    assert ran(stack, stack.agent("first-demo", skills=SKILLS)) == "completed"
    names = [line.rpartition("|")[2].strip() for line in worker.lines if line.startswith("import time:")]
    assert "kubiya_worker.models.session" not in names
    imported = [line.rpartition("|")[2].strip() for line in worker.lines[before:] if line.startswith("import time:")]
    assert not imported, "\n".join(imported)


@pytest.mark.timeout(240)
def test_a_package_that_is_replaced_under_a_worker_fails_nothing(
    stack: Stack, endpoint: ModelEndpoint, tmp_path: Path
) -> None:
    copy = tmp_path / "site"
    shutil.copytree(ROOT / "kubiya_worker", copy / "kubiya_worker", symlinks=False)
    worker = worker_of(stack, endpoint, PYTHONPATH=str(copy))
    worker.expect("worker.loaded")
    break_all(copy / "kubiya_worker")
    agent = stack.agent("replaced", model_id="gpt-test", skills=SKILLS)
    assert [ran(stack, agent) for _ in range(3)] == ["completed"] * 3
    assert not [line for line in worker.lines if "must_restart" in line or "Traceback" in line]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
