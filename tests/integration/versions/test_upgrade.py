"""A conversation that began under the previous commit's worker goes on under this one's."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from kubiya_worker.launch.venv import find_uv
from tests.integration.versions.fleet import Fleet
from tests.support.stack import ROOT


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a PYTHONPATH of the commit before this one, with the packages that it needs and this venv lacks."""
    folder = tmp_path_factory.mktemp("previous")
    archive = folder / "code.tar"
    git = ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}", "archive", "--output", str(archive), "HEAD~1"]
    parts = ["kubiya_worker", "supervisor", "setup.cfg", "constraints.txt"]  # `_supervisor` is a link to the second
    made = subprocess.run([*git, *parts], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no previous commit here (a shallow clone, or no repository): {made.stderr.strip()}")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    path = os.pathsep.join([str(folder), *added_packages(folder)])
    code = "import kubiya_worker; print(kubiya_worker.__file__)"
    env = {**os.environ, "PYTHONPATH": path}
    said = subprocess.run([sys.executable, "-c", code], env=env, cwd=folder, capture_output=True, text=True, check=True)
    assert Path(said.stdout.strip()) == folder / "kubiya_worker" / "__init__.py", "the venv's code would be run"
    return path


def added_packages(folder: Path) -> list[str]:
    """Install what the version in `folder` needs and this venv lacks; return the folder of that, or none.

    Without them a worker of a version whose dependencies this one has dropped is ready, and fails its first step.
    """
    parser = configparser.ConfigParser()
    parser.read(folder / "setup.cfg")
    wanted = parser["options"]["install_requires"].splitlines()
    missing = [line for line in wanted if line and not line.startswith("#") and not installed(Requirement(line))]
    if not missing:
        return []
    uv = find_uv()
    pip = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    locked = [line.rstrip(" \\") for line in (folder / "constraints.txt").read_text().splitlines() if "==" in line]
    versions, target = folder / "versions.txt", folder / "packages"
    versions.write_text("\n".join(locked))  # without hashes: with one, pip wants one of every package
    options = ["--quiet", "--constraint", str(versions), "--target", str(target)]
    done = subprocess.run([*pip, *options, *missing], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [str(target)]


def installed(requirement: Requirement) -> bool:
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False


def user_texts(fleet: Fleet, execution: str) -> list[str]:
    said = fleet.stack.call("GET", f"/executions/{execution}/session")["messages"]
    return [m["content"] for m in said if m["role"] == "user"]


def test_a_conversation_goes_on_with_the_next_version(fleet: Fleet, previous: str) -> None:
    old = fleet.worker(code=previous)
    execution = fleet.converse()
    old.signal(signal.SIGTERM)
    assert old.wait() == 0
    fleet.worker()
    fleet.say(execution, "and now?", 2)
    fleet.say(execution, "still there?", 3)
    assert fleet.turns(execution) == [1, 2, 3]
    assert user_texts(fleet, execution) == ["hello", "and now?", "still there?"]


def test_a_conversation_goes_on_with_the_next_version_of_a_deployment(fleet: Fleet, previous: str) -> None:
    old = fleet.worker("old", code=previous)
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
