"""A conversation that began under the previous commit's worker goes on under this one's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.versions.fleet import Fleet
from tests.support.stack import ROOT


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the commit before this one, and what its link `_supervisor` leads to; it runs in this venv."""
    folder = tmp_path_factory.mktemp("previous")
    archive = folder / "code.tar"
    git = ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}", "archive", "--output", str(archive), "HEAD~1"]
    made = subprocess.run([*git, "kubiya_worker", "supervisor"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no previous commit here (a shallow clone, or no repository): {made.stderr.strip()}")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    code = "import kubiya_worker; print(kubiya_worker.__file__)"
    env = {**os.environ, "PYTHONPATH": str(folder)}
    said = subprocess.run([sys.executable, "-c", code], env=env, cwd=folder, capture_output=True, text=True, check=True)
    assert Path(said.stdout.strip()) == folder / "kubiya_worker" / "__init__.py", "the venv's code would be run"
    return folder


def user_texts(fleet: Fleet, execution: str) -> list[str]:
    said = fleet.stack.call("GET", f"/executions/{execution}/session")["messages"]
    return [m["content"] for m in said if m["role"] == "user"]


def test_a_conversation_goes_on_with_the_next_version(fleet: Fleet, previous: Path) -> None:
    old = fleet.worker(code=previous)
    execution = fleet.converse()
    old.signal(signal.SIGTERM)
    assert old.wait() == 0
    fleet.worker()
    fleet.say(execution, "and now?", 2)
    fleet.say(execution, "still there?", 3)
    assert fleet.turns(execution) == [1, 2, 3]
    assert user_texts(fleet, execution) == ["hello", "and now?", "still there?"]


def test_a_conversation_goes_on_with_the_next_version_of_a_deployment(fleet: Fleet, previous: Path) -> None:
    old = fleet.worker("old", code=previous)
    if (previous / "kubiya_worker" / "process" / "deployment.py").exists():
        fleet.deployment("set-current", "old")
    followed, left = fleet.converse(), fleet.converse()
    fleet.worker("new")
    fleet.deployment("set-current", "new")
    fleet.say(followed, "and now?", 2)  # taken by the old one, answered by the new one
    assert fleet.described(followed)[0] == "new"
    old.signal(signal.SIGTERM)
    assert old.wait() == 0
    fleet.deployment("move", "old", build="new")
    for execution in (followed, left):
        turn = len(fleet.turns(execution)) + 1
        fleet.say(execution, "still there?", turn)
        assert fleet.described(execution)[0] == "new"
        assert fleet.turns(execution) == list(range(1, turn + 1))
    assert user_texts(fleet, left) == ["hello", "still there?"]
