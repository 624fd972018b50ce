"""Variables of an execution: which reach the programs that a skill lists, and which never do."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.shell.skill import Shell
from kubiya_worker.tools.shell.variables import tool_environment
from kubiya_worker.tools.skill_configuration import Skill

CODE = [
    "LD_PRELOAD",
    "LD_AUDIT",
    "DYLD_INSERT_LIBRARIES",
    "BASH_ENV",
    "ENV",
    "IFS",
    "PATH",
    "GIT_SSH_COMMAND",
    "GIT_CONFIG_COUNT",
    "GIT_DIR",
    "PAGER",
    "MANPAGER",
    "EDITOR",
    "GIT_EDITOR",
    "VISUAL",
    "BROWSER",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "NODE_OPTIONS",
    "PERL5OPT",
    "RUBYOPT",
    "JAVA_TOOL_OPTIONS",
    "TAR_OPTIONS",
    "RSYNC_RSH",
    "LESSOPEN",
    "MANOPT",
    "OPENSSL_CONF",
    "CURL_HOME",
    "WGETRC",
    "PSQLRC",
    "HOME",
    "XDG_CONFIG_HOME",
    "SSH_ASKPASS",
    "RIPGREP_CONFIG_PATH",
    "GREP_OPTIONS",
    "ZIPOPT",
    "LOCPATH",
    "TERMINFO",
    "HOSTALIASES",
    "MAKEFLAGS",
    "CLASSPATH",
]
DATA = ("APP_TOKEN", "DATABASE_URL", "PGPASSWORD", "AWS_ACCESS_KEY_ID", "GH_TOKEN", "STAGE", "TZ", "LC_ALL")


@pytest.mark.parametrize("name", CODE)
def test_what_programs_take_for_code_does_not_reach_them(name: str) -> None:
    assert tool_environment({name: "x"}, listed=True) == {}


@pytest.mark.parametrize("name", DATA)
def test_what_is_data_reaches_them(name: str) -> None:
    assert tool_environment({name: "x"}, listed=True) == {name: "x"}


@pytest.mark.parametrize("name", ["LD_PRELOAD", "BASH_ENV", "PATH", "IFS", "PYTHONSTARTUP"])
def test_what_loads_code_into_any_program_never_reaches_one(name: str) -> None:
    assert tool_environment({name: "x"}, frozenset({name})) == {}


def test_the_variables_that_protect_git_cannot_be_replaced(tmp_path: Path) -> None:
    listed = Shell(Skill("ops", "shell", {"allowed_commands": ["git"]}), tmp_path)
    context = ToolContext("e", "t", tmp_path, env={"GIT_CONFIG_COUNT": "0", "GIT_PAGER": "id", "STAGE": "x"})
    found = listed.environment(context)
    count = int(found["GIT_CONFIG_COUNT"])
    settings = {found[f"GIT_CONFIG_KEY_{n}"]: found[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}
    assert settings["safe.bareRepository"] == "explicit" and settings["core.hooksPath"] == "/dev/null"
    assert (settings["core.fsmonitor"], found["GIT_PAGER"], found["STAGE"]) == ("false", "cat", "x")


def test_a_skill_that_would_pass_such_a_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="LD_PRELOAD"):
        Shell(Skill("ops", "shell", {"allowed_commands": ["ls"], "pass_environment": ["LD_PRELOAD"]}), tmp_path)
