"""pip, pipx and uv, as people use them, with the built wheel: the command, its completions and its man page."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.stack import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SHARED = {
    "bash": "share/bash-completion/completions/kubiya",
    "zsh": "share/zsh/site-functions/_kubiya",
    "fish": "share/fish/vendor_completions.d/kubiya.fish",
    "man": "share/man/man1/kubiya.1",
}


def run(*argv: object, **environ: str) -> str:
    done = subprocess.run(
        [str(word) for word in argv], env={**os.environ, **environ}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs pipx and uv of the package index, and pip itself."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True, symlinks=True)
    run(folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "pipx", "uv")
    return folder / "bin"


@pytest.fixture(scope="module")
def wheel(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(tools / "uv", "build", "-q", "--wheel", "-o", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


def works(command: Path, prefix: Path, home: Path, removal: str) -> None:
    """Check the command, that bash completes with the wheel's file, and how the program would be removed."""
    environ = {"HOME": str(home), "PATH": f"{command.parent}:{os.defpath}"}
    assert run(command, "--version", **environ).startswith("kubiya, version")
    for name, path in SHARED.items():
        assert "kubiya" in (prefix / path).read_text().lower(), name
    script = (
        f". {prefix}/{SHARED['bash']} && COMP_WORDS=(kubiya unin) COMP_CWORD=1 && "
        '_kubiya_completion kubiya && echo "${COMPREPLY[@]}"'
    )
    assert run("bash", "-c", script, **environ) == "uninstall\n"
    assert run(command, "uninstall", **environ).splitlines()[-1].endswith(removal)
    assert "wrote" in run(command, "completion", "bash", "--install", **environ)
    assert (home / ".local" / SHARED["bash"]).read_text() == (prefix / SHARED["bash"]).read_text()


def test_pip(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True, symlinks=True)
    bin = tmp_path / "venv/bin"
    run(bin / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel)
    works(bin / "kubiya", tmp_path / "venv", tmp_path, "-m pip uninstall kubiya-worker")
    run(bin / "python", "-m", "pip", "uninstall", "-q", "-y", "kubiya-worker")
    assert not any((tmp_path / "venv" / path).exists() for path in SHARED.values())


def test_pipx(wheel: Path, tools: Path, tmp_path: Path) -> None:
    places = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    places |= {"PIPX_MAN_DIR": str(tmp_path / "man"), "HOME": str(tmp_path)}
    run(tools / "pipx", "install", "--python", sys.executable, wheel, **places)
    prefix = tmp_path / "pipx/venvs/kubiya-worker"
    works(tmp_path / "bin/kubiya", prefix, tmp_path, "pipx uninstall kubiya-worker")
    assert (tmp_path / "man/man1/kubiya.1").resolve() == (prefix / SHARED["man"]).resolve()
    run(tools / "pipx", "uninstall", "kubiya-worker", **places)
    assert not prefix.exists() and not (tmp_path / "bin/kubiya").is_symlink()


def test_uv_tool(wheel: Path, tools: Path, tmp_path: Path) -> None:
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    run(tools / "uv", "tool", "install", "--python", sys.executable, wheel, **places)
    prefix = tmp_path / "tools/kubiya-worker"
    works(tmp_path / "bin/kubiya", prefix, tmp_path, "uv tool uninstall kubiya-worker")
    run(tools / "uv", "tool", "uninstall", "kubiya-worker", **places)
    assert not prefix.exists() and not (tmp_path / "bin/kubiya").is_symlink()
