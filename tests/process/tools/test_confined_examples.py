"""The agents of examples/ work confined: each file names what its programs need, and none of them gets the key."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.toolset import build_toolset
from tests.support.stack import ROOT

pytestmark = pytest.mark.skipif(not support.probe().abi, reason=f"no confinement here: {support.probe().reason}")

KEY = "sk-planted-2b6e"
WORD = "a-word-of-it"  # which no path has, as the number of a test run could be in one
SOCKET = f"python3 -c 'import socket; socket.socket(socket.AF_UNIX); print(\"{WORD}\")'"
# What the programs of an agent must be able to do, beside reading the system.
NEEDS = {
    "failed-units": SOCKET,
    "host-inventory": "cat {home}/.ssh/known_hosts",
    "pod-crash-loop": "cat {home}/.kube/config",
    "postgresql-health": "cat {home}/.pgpass",
}
READS = {"backup-check": "/var/backups", "certificates": "/etc/letsencrypt"}


@pytest.fixture(autouse=True)
def _confined() -> Iterator[None]:
    before = support.mode()
    support.use(support.PREFER)
    yield
    support.use(before)


def agents() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for file in sorted((ROOT / "examples").glob("*.yaml")):
        for each in yaml.safe_load_all(file.read_text()):
            skills = each["spec"].get("skills", [])
            if each["kind"] == "Agent" and any(skill["type"] == "shell" for skill in skills):
                yield each["name"], skills


@pytest.mark.parametrize(("name", "skills"), [pytest.param(*each, id=each[0]) for each in agents()])
def test_an_example_has_what_its_programs_need_and_not_the_key(
    name: str, skills: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, workspace = tmp_path / "home", tmp_path / "all" / "ws"
    for path, text in ((".pgpass", WORD), (".kube/config", WORD), (".ssh/known_hosts", WORD), (".kubiya/key", KEY)):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text)
    monkeypatch.setenv("HOME", str(home))
    [shell] = [skill for skill in skills if skill["type"] == "shell"]
    # Any command, so that only the confinement stands in between.
    anything = {**shell["configuration"], "allowed_commands": ["*"]}
    tool = build_toolset([{**shell, "configuration": anything}], workspace=workspace).get("shell")
    assert tool is not None

    def said(command: str) -> str:
        called = tool.run({"command": command, "timeout": 20}, ToolContext("e1", "c1", workspace))
        return str(asyncio.run(called).output)

    assert WORD in said(f"echo {WORD}") and "root" in said("cat /etc/passwd")
    assert KEY not in said(f"python3 -c \"print(open('{home}/.kubiya/' + 'key').read())\"")
    for agent, command in NEEDS.items():
        allowed = WORD in said(command.format(home=home))
        assert allowed == (agent == name), (agent, command)
    declared = vars(tool)["_declared"].profile.reads
    assert {agent for agent, path in READS.items() if path in declared} == ({name} & set(READS))
