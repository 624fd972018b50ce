"""Each key that a skill or an MCP server takes is named by a test of its skill: a key without one fails here."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools import data_visualization, toolset
from kubiya_worker.tools.base import Tool, ToolContext
from kubiya_worker.tools.http.skill import HttpRequest
from kubiya_worker.tools.mcp import config as mcp_config
from kubiya_worker.tools.mcp.answers import Listing
from kubiya_worker.tools.mcp.discovery import tools_of_server
from kubiya_worker.tools.shell.skill import Shell
from kubiya_worker.tools.skill_configuration import Skill
from kubiya_worker.tools.ssh.skill import Ssh

TESTS = Path(__file__).parents[2]
OF_TOOLS = (
    "unit/tools",
    "process/tools",
    "integration/tools",
    "integration/mcp",
    "integration/team",
    "unit/activities",
)
MODULES = [*toolset.MODULES, mcp_config]
# A test goes through these by itself: test_data_visualization.py::test_each_switch_takes_its_tool_away.
BY_TABLE = {data_visualization: frozenset(data_visualization.KINDS)}


@functools.cache
def texts() -> str:
    paths = [path for folder in OF_TOOLS for path in (TESTS / folder).rglob("test_*.py")]
    return "\n".join(path.read_text() for path in paths)


def unnamed(keys: Iterator[str] | list[str], text: str) -> list[str]:
    return [key for key in keys if not re.search(rf"[\"']{key}[\"']|\b{key}=", text)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.removeprefix("kubiya_worker.tools."))
def test_each_key_is_named_by_a_test(module: ModuleType) -> None:
    keys = [key for key in module.KEYS if key not in BY_TABLE.get(module, ())]
    assert unnamed(keys, texts()) == [], "give them an effect and a test of it, or take them out of KEYS"


def test_the_check_sees_a_key_without_a_test() -> None:
    text = 'tool(timeout=3) {"base_dir": "x"}'
    assert unnamed(["timeout", "base_dir", "a_" + "key"], text) == ["a_key"]


def names(kind: str, workspace: Path, **configuration: Any) -> set[str]:
    tools = toolset.build_toolset([{"name": "s", "type": kind, "configuration": configuration}], workspace=workspace)
    return {spec.name for spec in tools.specs}


def shell(workspace: Path, **configuration: Any) -> Tool:
    return Shell(Skill("s", "shell", {"allowed_commands": ["ls"], **configuration}), workspace)


def test_text_for_the_model_is_told_to_it(tmp_path: Path) -> None:
    told = shell(tmp_path, environment_context="This is the host of the shop.").spec.description
    assert "This is the host of the shop." in told.splitlines()


def test_a_shell_and_its_arguments_change_nothing(tmp_path: Path) -> None:
    given = shell(tmp_path, shell_binary="/bin/bash", shell_args=["-c"]).spec
    assert given == shell(tmp_path).spec
    with pytest.raises(ConfigurationError, match="`shell_args` is 3"):
        shell(tmp_path, shell_args=3)


@pytest.mark.skipif(not shutil.which("ssh"), reason="without the OpenSSH client there is no such skill")
def test_how_many_hosts_at_once_and_how_long_a_connection_may_take() -> None:
    hosts = {f"h{n}": {"address": "192.0.2.1", "host_key": "ssh-ed25519 AAAA" + "A" * 64} for n in range(10)}

    def ssh(**configuration: Any) -> Ssh:
        given = {"hosts": hosts, "user": "ops", "agent": True, "timeout": 100, **configuration}
        return Ssh(Skill("s", "ssh", given))

    few, many = ssh(parallel=1).spec.timeout, ssh(parallel=10).spec.timeout
    assert few > 9 * 100 > many > 100, "ten rounds, or one"
    for key in ("parallel", "connect_timeout"):
        with pytest.raises(ConfigurationError, match=f"`{key}` is 99"):
            ssh(**{key: 99})


async def test_files_are_below_the_base_directory(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "seen.txt").touch()
    skill = {"name": "s", "type": "file_system", "configuration": {"base_directory": str(tmp_path / "below")}}
    tool = toolset.build_toolset([skill], workspace=tmp_path).get("list_files")
    assert tool is not None
    result = await tool.run({}, ToolContext("e1", "c1", tmp_path))
    assert "seen.txt" in result.output and "below" not in result.output


def test_a_switch_takes_the_tools_of_files_away(tmp_path: Path) -> None:
    every = names("file_system", tmp_path)
    assert every - names("file_system", tmp_path, enable_list_files=False) == {"list_files"}
    without = names("file_system", tmp_path, enable_save_file=False)
    assert without == {"list_files", "read_file", "search_files"}
    made = names("file_generation", tmp_path)
    assert made - names("file_generation", tmp_path, enable_json_generation=False) == {"generate_json_file"}
    assert made - names("file_generation", tmp_path, enable_txt_generation=False) == {"generate_txt_file"}


@pytest.mark.parametrize("key", ["excludeTools", "disabledTools"])
def test_tools_of_a_server_that_are_left_out(key: str) -> None:
    server = mcp_config.parse({"s": {"command": "x", key: ["delete_*"]}})[0]
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("delete_all", "list_all")]
    assert [spec.name for spec in tools_of_server(server, Listing(tools)).specs] == ["list_all"]


def test_hosts_that_are_blocked_and_redirects_that_are_counted() -> None:
    web = HttpRequest(Skill("web", "http", {"allowed_hosts": ["*.example"], "blocked_hosts": ["evil.example"]}))
    assert web._target("https://good.example/")
    with pytest.raises(Exception, match=r"evil\.example"):
        web._target("https://evil.example/")
    with pytest.raises(ConfigurationError, match="`max_redirects` is 11"):
        HttpRequest(Skill("web", "http", {"allowed_hosts": ["*"], "max_redirects": 11}))
