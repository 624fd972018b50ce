"""The python skill with real interpreters."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.python.skill import Python, build
from kubiya_worker.tools.skill_configuration import Skill


def run(workspace: Path, code: str, env: dict[str, str] | None = None, **configuration: Any) -> ToolResult:
    tool = Python(Skill("py", "python", configuration), workspace)
    return asyncio.run(tool.run({"code": code}, ToolContext("e1", "c1", workspace, env or {})))


def test_a_program_prints_and_its_errors_name_its_line(tmp_path: Path) -> None:
    assert run(tmp_path, "import json, math\nprint(json.dumps(math.floor(2.5)))").output == "2\n"
    result = run(tmp_path, "x = 1\n1/0")
    assert result.error == "exit code 1" and "line 2" in result.output and "ZeroDivisionError" in result.output
    assert "python_runner" not in result.output
    assert "SyntaxError" in run(tmp_path, "def").output
    assert run(tmp_path, "raise SystemExit(3)").error == "exit code 3"


def test_it_works_in_the_workspace_and_with_the_standard_library(tmp_path: Path) -> None:
    code = "import csv, dataclasses, datetime, random, re, collections, pathlib\n"
    code += "T = collections.namedtuple('T', 'a')\npathlib.Path('a.txt').write_text(str(T(1)))"
    assert run(tmp_path, code).error is None
    assert (tmp_path / "a.txt").read_text() == "T(a=1)"


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "import os.path",
        "from os import path",
        "import subprocess as s",
        "import socket",
        "import shutil",
        "import sys",
        "import posix",
        "import ctypes",
        "import importlib",
        "__import__('os')",
        "exec('import os')",
        "import glob; glob.os.system('true')",
        "import pathlib; pathlib.Path('keep').unlink()",
        "import logging; logging.os.fork()",
        "import glob; glob.os.execv('/bin/true', ['true'])",
        "import tempfile; tempfile._shutil.rmtree('folder')",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:1/')",
        "import asyncio; asyncio.run(asyncio.create_subprocess_exec('true'))",
    ],
)
def test_what_is_blocked_is_refused_by_whatever_way(code: str, tmp_path: Path) -> None:
    (tmp_path / "keep").touch()
    (tmp_path / "folder").mkdir()
    result = run(tmp_path, code)
    assert result.error and ("may not be imported" in result.output or "not allowed here" in result.output)
    assert (tmp_path / "keep").exists() and (tmp_path / "folder").exists()


def test_an_allow_list_is_all_there_is(tmp_path: Path) -> None:
    assert run(tmp_path, "import json, math", allowed_imports=["json", "math"]).error is None
    assert "these may: json" in run(tmp_path, "import math", allowed_imports=["json"]).output
    assert run(tmp_path, "import os", allowed_imports=["os"]).error  # blocked stays blocked
    assert run(tmp_path, "import os; print(os.getpid() > 0)", blocked_imports=[]).output == "True\n"


def test_the_environment_holds_no_secret_of_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_of_the_worker")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-worker")
    code = "import os; print(dict(os.environ))"
    output = run(tmp_path, code, {"GH_TOKEN": "for tools", "KUBIYA_API_KEY": "kby_server"}, blocked_imports=[]).output
    assert "for tools" in output and "kby_" not in output and "sk-worker" not in output


def test_packages_of_the_worker_are_not_there(tmp_path: Path) -> None:
    assert "No module named" in run(tmp_path, "import temporalio").output


def test_time_output_and_memory_are_bounded(tmp_path: Path) -> None:
    assert run(tmp_path, "while True: pass", timeout=1).error == "timed out after 1 seconds"
    assert len(run(tmp_path, "print('x' * 1000000)").output) < 51_000
    assert "MemoryError" in run(tmp_path, "x = bytearray(2 << 30)").output
    assert run(tmp_path, "open('big', 'wb').write(b'x' * (200 << 20))").error


def test_configuration_is_honoured_or_refused(tmp_path: Path) -> None:
    assert build(Skill("py", "python", {"enable_code_execution": False}), tmp_path) == []
    for wrong in ({"timeout": 301}, {"blocked_imports": ["a-b"]}, {"interpreter": "/nonexistent/python"}):
        with pytest.raises(ConfigurationError):
            Python(Skill("py", "python", wrong), Path())
