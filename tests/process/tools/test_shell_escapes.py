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
    for line in (Path(__file__).parents[2] / "cases" / "shell" / "escapes.jsonl").read_text().splitlines()
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
