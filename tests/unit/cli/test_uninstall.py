"""`kubiya uninstall` removes what is ours, keeps data unless it is told, and never touches what is not ours."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kubiya_worker.launch import belongings, installation, stack_folder
from kubiya_worker.launch.belongings import DATA, FOREIGN

OURS = (
    "workers/q/venv/bin/python",
    "workers/q/venv/.kubiya.json",
    "workers/q/.venv.lock",
    "workers/q/requirements.txt",
    "workers/q/worker.py",
    "workers/q/state.json",
    "workers/q/status.json.run/redact",
    "workers/q/.worker.pid.lock",
    "workers/q/logs/worker.log.1",
    "workers/q/instances/2/logs/worker.log",
    "worker-config.yaml",
    "agent-skills/repository/SKILL.md",
    "bytecode/start.cpython-311",
    "dev/lock",
    "dev/logs/temporal.log",
)
KEPT_DATA = (
    "workers/q/workspaces/run/file",
    "workers/q/spool/events",
    "workers/q/instances/2/workspaces/run/file",
    "dev/control-plane.db",
    "dev/control-plane.db-wal",
    "dev/temporal.db",
    "dev/run-files/ab/file",
    "server/run-files/ab/file",
    "dev/secrets.key",
    "dev/key",
    "dev/env",
    "server/control-plane.db",
)
NOT_OURS = ("config", "custom_activities.py", "workers/q/notes.txt", "dev/mine/file")
RC = 'eval "$(kubiya completion bash)"\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in (*OURS, *KEPT_DATA, *NOT_OURS):
        path = tmp_path / ".kubiya" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / ".kubiya/workers/q-id").symlink_to("q")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("x")
    (tmp_path / ".kubiya/workers/q/logs/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".bashrc").write_text(RC)
    return tmp_path


def kubiya(home: Path, *words: str, code: int = 0) -> str:
    environ = {"HOME": str(home), "PATH": os.defpath, "DOCKER_HOST": "unix:///nonexistent"}
    done = subprocess.run(
        [sys.executable, "-m", "kubiya_worker", *words], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def left(home: Path) -> set[str]:
    return {str(p.relative_to(home / ".kubiya")) for p in (home / ".kubiya").rglob("*") if p.is_file()}


def test_the_list_changes_nothing_and_says_what_each_file_is(home: Path) -> None:
    before = left(home)
    said = kubiya(home, "uninstall")
    assert left(home) == before and "Nothing was changed" in said
    assert f"{home}/.bashrc:1: {RC.strip()}" in said and "The program itself: " in said
    told = json.loads(kubiya(home, "uninstall", "--json"))["belongings"]
    kinds = {one["path"].removeprefix(f"{home}/.kubiya/"): one["kind"] for one in told}
    assert {kinds[name] for name in ("config", "custom_activities.py", "workers/q/notes.txt", "dev/mine")} == {FOREIGN}
    assert {kinds[name] for name in ("workers/q/workspaces", "dev/control-plane.db-wal", "dev/key")} == {DATA}
    assert (kinds["workers/q/venv"], kinds["workers/q/logs"]) == ("environment", "logs")
    assert (kinds["worker-config.yaml"], kinds["workers/q-id"]) == ("configuration", "state")
    assert len(kinds) == len(told) and "dev" not in kinds, "nothing is told twice"


def test_yes_keeps_data_and_what_is_not_ours(home: Path) -> None:
    said = kubiya(home, "uninstall", "--yes")
    assert left(home) == {*KEPT_DATA, *NOT_OURS}
    assert (home / "elsewhere/file").read_text() == "x", "no link was followed"
    assert not (home / ".kubiya/workers/q-id").is_symlink() and (home / ".bashrc").read_text() == RC
    assert "removed environment" in said and f"{home}/.kubiya/config" in said


def test_yes_with_data_keeps_what_is_not_ours_alone(home: Path) -> None:
    kubiya(home, "uninstall", "--yes", "--data")
    assert left(home) == set(NOT_OURS)
    for name in NOT_OURS:
        (home / ".kubiya" / name).unlink()
    (home / ".kubiya/worker-config.yaml").touch()
    kubiya(home, "uninstall", "--yes")
    assert not (home / ".kubiya").exists(), "empty folders go too"
    assert "Nothing was changed" in kubiya(home, "uninstall")


def test_what_completion_installed_is_removed_and_a_file_of_somebody_else_is_not(home: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "wrote " in kubiya(home, "completion", shell, "--install")
    share = home / ".local/share"
    written = [share / "bash-completion/completions/kubiya", share / "man/man1/kubiya.1"]
    written += [share / "zsh/site-functions/_kubiya", home / ".config/fish/completions/kubiya.fish"]
    assert all(path.read_text() for path in written)
    written[0].write_text("# mine\n")
    assert "was not written by kubiya" in kubiya(home, "completion", "bash", "--install", code=78)
    kubiya(home, "uninstall", "--yes")
    assert [path.exists() for path in written] == [True, False, False, False]


def test_a_local_stack_that_runs_is_named_and_nothing_is_removed(home: Path) -> None:
    program = (
        "import sys, pathlib; from kubiya_worker.launch.stack_folder import StackFolder\n"
        f"folder = StackFolder(pathlib.Path({str(home / '.kubiya/dev')!r}))\n"
        "with folder.locked():\n folder.announce({'queue': 'q'}); print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        before = left(home)
        said = kubiya(home, "uninstall", "--yes", code=75)
        assert f"A local stack runs (pid {holder.pid}); nothing was removed" in said and left(home) == before
        holder.communicate("")


def test_every_file_of_a_stack_that_the_folder_knows_has_a_kind(tmp_path: Path) -> None:
    state = stack_folder.StackFolder(tmp_path)
    state.logs.mkdir()
    state.run.mkdir()
    for path in (state.env_file, state.key_file, state.lock_file):
        path.touch()
    assert FOREIGN not in {one.kind for one in belongings.of_stack(tmp_path)}


@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("pipx_metadata.json", "pipx uninstall kubiya-worker"),
        ("uv-receipt.toml", "uv tool uninstall kubiya-worker"),
        ("share/kubiya-worker/debian-packages", "rm -r {prefix}"),
    ],
)
def test_the_program_is_removed_with_what_installed_it(tmp_path: Path, mark: str, command: str) -> None:
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    assert installation.removal(tmp_path) == command.format(prefix=tmp_path)
    assert "uninstall" in installation.removal(tmp_path / "no")


def test_the_command_that_removes_the_program_quotes_a_path_with_a_space(tmp_path: Path) -> None:
    mark = tmp_path / "my tools/share/kubiya-worker/debian-packages"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert shlex.split(installation.removal(tmp_path / "my tools")) == ["rm", "-r", str(tmp_path / "my tools")]
