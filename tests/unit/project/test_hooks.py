"""The hooks of .pre-commit-config.yaml exist, and the one for commit messages judges the subject."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
HOOK = ROOT / "scripts" / "commit-subject"


def judge(message: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "COMMIT_EDITMSG"
    file.write_text(message, "utf-8")
    return subprocess.run([HOOK, file], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    "message",
    [
        "fix(worker): say which queue is missing",
        "feat!: drop Python 3.11\n\nA body line may be as long as it likes, also longer than seventy-two characters.\n",
        "docs(models): " + "x" * 58,
        "docs(models): " + "ü" * 58,
        "\n# a comment of Git\nchore: tidy up\n",
        "fixup! " + "x" * 100,
        "Merge branch 'topic'",
        'Revert "feat: a thing that was not good, and had a subject of seventy-two"',
    ],
)
def test_a_good_subject_is_taken(message: str, tmp_path: Path) -> None:
    run = judge(message, tmp_path)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("docs(models): " + "x" * 59, "has 73 characters, at most 72"),
        ("docs(models): " + "ü" * 59, "has 73 characters, at most 72"),
        ("Say which queue is missing", 'must look like "fix(worker): '),
        ("fix(worker) say it", "must look like"),
        ("fix(worker):say it", "must look like"),
        ("improve: the worker", "must look like"),
        ("fix: say it.", "full stop"),
        ("# only a comment\n", "must look like"),
        ("", "must look like"),
    ],
)
def test_a_bad_subject_is_refused_with_its_reason(message: str, reason: str, tmp_path: Path) -> None:
    run = judge(message, tmp_path)
    assert run.returncode == 1 and run.stderr.startswith("commit-subject: ") and reason in run.stderr


def test_every_hook_is_local_and_runs_a_program_of_this_repository_or_its_environment() -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repo,) = config["repos"]
    assert repo["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repo["hooks"]}
    assert set(hooks) == {"ruff", "ruff-format", "mypy", "import-linter", "commit-subject"}
    development = (ROOT / "setup.cfg").read_text().split("\ndev =")[1].split("\n\n")[0]
    for name, hook in hooks.items():
        assert hook["language"] == "system", name
        program = hook["entry"].split()[0]
        if program.startswith(".venv/"):  # made by scripts/test, from the extra `dev`
            package = {"lint-imports": "import-linter"}.get(Path(program).name, Path(program).name)
            assert f"\n    {package} >=" in development, name
        else:
            assert (ROOT / program).stat().st_mode & 0o111, name
    assert hooks["commit-subject"]["stages"] == ["commit-msg"]
    assert "commit-msg" in config["default_install_hook_types"]


def test_pre_commit_itself_accepts_the_configuration() -> None:
    pytest.importorskip("pre_commit", reason="needs the extra `dev`")
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_the_hook_stops_a_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        person = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "core.hooksPath=.git/hooks")
        return subprocess.run(["git", *person, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=30)

    assert git("init", "-q").returncode == 0
    hooks = tmp_path / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "commit-msg").symlink_to(HOOK)
    assert git("commit", "-q", "--allow-empty", "-m", "No kind").returncode == 1
    assert git("commit", "-q", "--allow-empty", "-m", "fix: a kind").returncode == 0
