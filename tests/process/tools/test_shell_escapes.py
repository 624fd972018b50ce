"""Command lines that lead out of a list of allowed commands, and harmless ones like them (tests/cases/shell)."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.toolset import build_toolset

CASES = [
    json.loads(line)
    for name in ("escapes.jsonl", "ours.jsonl")
    for line in (Path(__file__).parents[2] / "cases" / "shell" / name).read_text().splitlines()
]
KEY = "kby_escape_canary_0123456789"
REPOSITORY = """
git init -q . && git config user.email t@test && git config user.name t
printf 'x 90\\ny 10\\n' > load.txt; echo one > a.txt; tar cf a.tar a.txt; git add -A; git commit -qm 1
echo two > a.txt; git commit -qam 2; echo three > a.txt
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = {"ws": tmp_path / "ws", "outside": tmp_path / "outside", "home": tmp_path / "home"}
    for folder in (*found.values(), tmp_path / "home" / ".kubiya" / "dev"):
        folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "home" / ".kubiya" / "dev" / "env").write_text(f"KUBIYA_API_KEY={KEY}\n")
    monkeypatch.setenv("HOME", str(found["home"]))
    subprocess.run(["sh", "-ec", REPOSITORY], cwd=found["ws"], check=True)
    return {**{name: str(folder) for name, folder in found.items()}, "pid": str(os.getpid())}


def filled(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@pytest.mark.parametrize("case", [case for case in CASES if "command" in case], ids=lambda case: case["command"][:60])
def test_the_allow_list_holds(case: dict[str, Any], places: dict[str, str]) -> None:
    workspace = Path(places["ws"])
    if case.get("setup"):
        subprocess.run(["sh", "-c", filled(case["setup"], places)], cwd=workspace, check=True)
    skill = {"name": "ops", "type": "shell", "configuration": {"allowed_commands": case["allowed"]}}
    tool = build_toolset([skill], workspace=workspace).get("shell")
    assert tool is not None
    command = filled(case["command"], places)
    result = asyncio.run(tool.run({"command": command, "timeout": 20}, ToolContext("e", "t", workspace)))
    started = not result.metadata.get("refused")
    assert started == (case["must"] == "run"), (case["why"], result.output)
    assert KEY not in result.output
    assert not any(path.name == "PWN" for path in Path(places["ws"]).parent.rglob("*"))
    left = {path.name for path in Path(places["outside"]).iterdir()} - {"src"}
    assert not left, (case["why"], left)


@pytest.mark.parametrize(
    "setting", ["core.fsmonitor", "diff.external", "core.sshCommand", "filter.x.clean", "include.path"]
)
def test_a_repository_whose_configuration_names_programs_is_refused(setting: str, places: dict[str, str]) -> None:
    """It can come out of an archive, whole; the file tools do not write into `.git`."""
    workspace = Path(places["ws"])
    subprocess.run(["git", "config", setting, "touch PWN"], cwd=workspace, check=True)
    skill = {"name": "ops", "type": "shell", "configuration": {"allowed_commands": ["git"]}}
    tool = build_toolset([skill], workspace=workspace).get("shell")
    assert tool is not None
    result = asyncio.run(tool.run({"command": "git status"}, ToolContext("e", "t", workspace)))
    assert result.metadata.get("refused") and setting.lower() in result.output.lower()


EVIL = "git init -q evil && git -C evil config core.fsmonitor 'touch PWN' && git -C evil config core.hooksPath x"
HIDDEN_CONFIGURATIONS = {
    "a .git file that leads to a folder": f"{EVIL} && mkdir d && echo 'gitdir: ../evil/.git' > d/.git",
    "an empty .git below a bad repository": f"{EVIL} && mkdir -p evil/sub/.git && ln -s evil/sub d",
    "a .git link": f"{EVIL} && mkdir d && ln -s ../evil/.git d/.git",
    "a .git file with a common folder": (
        f"{EVIL} && mkdir -p d g && echo 'gitdir: ../g' > d/.git && cp evil/.git/HEAD g/HEAD"
        " && echo ../evil/.git > g/commondir"
    ),
    "a folder that is a repository itself": "git init -q --bare d && git -C d config core.fsmonitor 'touch PWN'",
}


@pytest.mark.parametrize("setup", HIDDEN_CONFIGURATIONS.values(), ids=HIDDEN_CONFIGURATIONS)
def test_git_is_not_run_in_a_repository_that_hides_its_configuration(setup: str, places: dict[str, str]) -> None:
    workspace = Path(places["ws"])
    subprocess.run(["sh", "-ec", setup], cwd=workspace, check=True)
    skill = {"name": "ops", "type": "shell", "configuration": {"allowed_commands": ["git"]}}
    tool = build_toolset([skill], workspace=workspace).get("shell")
    assert tool is not None
    result = asyncio.run(tool.run({"command": "git -C d status"}, ToolContext("e", "t", workspace)))
    assert result.metadata.get("refused"), result.output
    assert not any(path.name == "PWN" for path in workspace.rglob("*"))


def test_hooks_and_submodules_of_a_repository_run_nothing(places: dict[str, str]) -> None:
    workspace = Path(places["ws"])
    setup = (
        "mkdir -p .git/hooks && printf '#!/bin/sh\\ntouch PWN\\n' > .git/hooks/pre-commit"
        " && chmod +x .git/hooks/pre-commit && git init -q sub && touch sub/f && git -C sub add f"
        " && git -C sub -c user.email=t -c user.name=t commit -qm 1 && echo x > sub/f"
        " && git add sub 2>/dev/null && git -C sub config core.fsmonitor 'touch PWN'"
    )
    subprocess.run(["sh", "-ec", setup], cwd=workspace, check=True)
    skill = {"name": "ops", "type": "shell", "configuration": {"allowed_commands": ["git"]}}
    tool = build_toolset([skill], workspace=workspace).get("shell")
    assert tool is not None
    for command in ("git status", "git diff", "git commit -am x"):
        result = asyncio.run(tool.run({"command": command}, ToolContext("e", "t", workspace)))
        assert not result.metadata.get("refused") and not result.error, result.output
    assert not any(path.name == "PWN" for path in workspace.rglob("*"))
