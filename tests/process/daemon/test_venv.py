"""The worker's venv: made without being asked, healed when it is broken, and never changed behind one's back."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kubiya_worker.launch import venv
from kubiya_worker.launch.home import Home
from kubiya_worker.settings import Settings
from tests.support.stack import ROOT

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "workers" / "q")
    made.make()
    return made


def settings(**given: object) -> Settings:
    return Settings(queue_id="q", api_key="kby_x", **given)  # type: ignore[arg-type]


def ensure(home: Home, **given: object) -> tuple[Path, list[str]]:
    said: list[str] = []
    return venv.ensure(home, settings(**given), said.append), said


def worker_version(python: Path) -> str:
    code = "import kubiya_worker, temporalio, sys; print(kubiya_worker.__version__, sys.prefix)"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_is_made_offline_from_the_running_installation(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    python, said = ensure(home)
    assert worker_version(python).endswith(str(home.venv))
    assert any("ready in" in line for line in said)
    assert home.requirements.read_text().splitlines()[1]
    again, said = ensure(home)
    assert again == python and said == []  # warm: nothing to say, no process started


def _another_python(venv: Path) -> None:
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/nowhere/python")


def _a_file(venv: Path) -> None:
    shutil.rmtree(venv)
    venv.write_text("a file")


def _a_dangling_link(venv: Path) -> None:
    shutil.rmtree(venv)
    venv.symlink_to("/nowhere")


@pytest.mark.parametrize(
    "damage",
    [
        shutil.rmtree,
        lambda v: (v / "bin" / "python").unlink(),
        lambda v: (v / ".kubiya.json").write_text("{"),
        lambda v: next(v.rglob("kubiya-worker.pth")).unlink(),
        lambda v: shutil.rmtree(v / "lib"),
        _another_python,
        _a_file,
        _a_dangling_link,
    ],
)
def test_what_is_broken_is_healed(damage: Callable[[Path], object], home: Home) -> None:
    ensure(home)
    damage(home.venv)
    python, _ = ensure(home)
    assert worker_version(python)


def test_a_start_that_was_killed_in_the_middle_is_made_good(home: Home) -> None:
    """Killed at each of some moments; the next start always has a venv that works."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from tests.process.daemon.test_venv import *; from kubiya_worker.launch.home import Home;"
        "print('go', flush=True); ensure(Home(Path(sys.argv[2])))"
    )
    for delay in (0.0, 0.02, 0.5):
        shutil.rmtree(home.venv, ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(ROOT), str(home.queue_folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        python, _ = ensure(home)
        assert worker_version(python)


@pytest.mark.slow
def test_two_starts_at_once_wait_for_each_other(home: Home) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from tests.process.daemon.test_venv import *; from kubiya_worker.launch.home import Home;"
        "print(worker_version(ensure(Home(Path(sys.argv[2])))[0]))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(ROOT), str(home.queue_folder)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and str(home.venv) in out


def test_what_was_installed_stays_while_another_instance_runs_with_it(home: Home) -> None:
    ensure(home)
    before = (home.venv / ".kubiya.json").read_text()
    home.requirements.write_text(home.requirements.read_text() + "no-such-package-of-mine\n")
    said: list[str] = []
    venv.ensure(home, settings(), said.append, in_use=lambda: True)
    assert (home.venv / ".kubiya.json").read_text() == before and "another instance" in said[0]
    assert ensure(home, no_update=True)[1] == []


def local_package(folder: Path, version: str) -> Path:
    """A package that is built without an index: its build backend is its own."""
    source = folder / f"mine-{version}"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "backend.py").write_text(
        "import zipfile\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        f"    name = 'mine-{version}-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(folder + '/' + name, 'w') as wheel:\n"
        f"        wheel.writestr('mine.py', 'VERSION = \"{version}\"')\n"
        f"        info = 'mine-{version}.dist-info/'\n"
        f"        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: mine\\nVersion: {version}\\n')\n"
        "        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr(info + 'RECORD', '')\n"
        "    return name\n"
    )
    return source


@pytest.mark.parametrize(
    "installer", ["uv", *(pytest.param(installer, marks=pytest.mark.slow) for installer in ("pip", "neither"))]
)
def test_own_requirements_come_on_top(
    installer: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installer != "uv":
        monkeypatch.setattr(venv, "find_uv", lambda: None)
        monkeypatch.setattr(venv, "has_pip", lambda: installer == "pip")
        if installer == "pip" and importlib.util.find_spec("pip") is None:
            pytest.skip("no pip here: this environment was made by uv")
    elif venv.find_uv() is None:
        pytest.skip("no uv here")
    ensure(home)
    text = home.requirements.read_text()
    home.requirements.write_text(f"{text}mine @ {local_package(tmp_path, '1.0').as_uri()}\n")
    python, said = ensure(home)
    assert any("your requirements" in line for line in said)
    done = subprocess.run([python, "-I", "-c", "import mine; print(mine.VERSION)"], capture_output=True, text=True)
    assert done.stdout == "1.0\n", done.stderr
    assert worker_version(python)
    assert ensure(home)[1] == []
    home.requirements.write_text(text)
    python, _ = ensure(home)
    assert subprocess.run([python, "-I", "-c", "import mine"], capture_output=True).returncode == 1


def test_requirements_that_cannot_be_had_are_said_in_a_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubiya_worker.errors import ConfigurationError

    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    home.requirements.write_text("no-such-package-of-mine==1\n")
    with pytest.raises(ConfigurationError, match=r"could not be installed") as raised:
        ensure(home)
    assert "\n" not in raised.value.line()
    home.requirements.write_text("")
    assert worker_version(ensure(home)[0])  # healed


def test_a_venv_made_by_hand_is_used(home: Home) -> None:
    """The venv is made as the guide's manual repair makes it; the package comes by a path and not from the network."""
    ensure(home)
    path_file = next(home.venv.rglob("kubiya-worker.pth")).read_text()
    shutil.rmtree(home.venv)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home.venv)], check=True)
    library = next((home.venv / "lib").glob("python3*/site-packages"))
    (library / "by-hand.pth").write_text(path_file)
    python, said = ensure(home)
    assert "made by hand" in said[0] and (library / "by-hand.pth").exists() and worker_version(python)
    assert ensure(home)[1] == []


def test_an_empty_venv_made_by_hand_is_replaced(home: Home) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home.venv)], check=True)
    python, _ = ensure(home)
    assert worker_version(python)


def test_another_python_is_examined_first(home: Home, tmp_path: Path) -> None:
    from kubiya_worker.errors import ConfigurationError

    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho hello\n")
    liar.chmod(0o755)
    old = tmp_path / "old"
    old.write_text(f'#!/bin/sh\necho \'["{old}", "/old", [3, 8, 18]]\'\n')
    old.chmod(0o755)
    for wanted, words in ((liar, "not a Python"), (old, "Python 3.8.18"), (tmp_path / "none", "not a program")):
        with pytest.raises(ConfigurationError, match=words):
            ensure(home, python_path=str(wanted))
    assert not home.venv.exists()


def test_the_same_python_by_another_path_needs_no_installation(home: Home) -> None:
    python, said = ensure(home, python_path=sys.executable)
    assert "sees the running installation" in said[-1] and worker_version(python)


def test_the_stamp_tells_nothing_secret(home: Home) -> None:
    ensure(home)
    about = json.loads((home.venv / ".kubiya.json").read_text())
    assert set(about) == {"fingerprint", "proof", "worker"}
    assert (home.queue_folder / ".venv.lock").exists(), "the lock file stays"
