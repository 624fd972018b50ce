"""The worker's virtual environment: created and kept correct without being asked.

Usually it holds only a path file that makes the running installation visible, so it is created at once and without the
network. Packages are installed only on request: the queue's own requirements, another Python (PYTHON_PATH), another
version (`--package-source` and similar options). Then uv installs them if there is one, else pip.

A stamp is written last and describes the content of a finished venv. A venv without a stamp was made by a person (then
it is used if it works), or its creation was interrupted (then it is made again).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kubiya_worker import __version__
from kubiya_worker._supervisor.posix import files, lock
from kubiya_worker.errors import ConfigurationError, TemporaryFailure
from kubiya_worker.launch import packages
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.packages import Interpreter, Plan
from kubiya_worker.settings import Settings

OLDEST: Final = (3, 11)
STAMP: Final = ".kubiya.json"
MAKING: Final = ".kubiya-making"  # this file exists until the venv is finished
PATH_FILE: Final = "kubiya-worker.pth"
INSTALL_WITHIN: Final = 900.0  # seconds for a package installer; source builds take long
ASK_WITHIN: Final = 20.0  # seconds for a Python to say what it is

Say = Callable[[str], None]

_ABOUT: Final = (
    "import json,os,sys;"
    "print(json.dumps([sys._base_executable,os.path.realpath(sys.base_prefix),sys.version_info[:3]]))"
)
_WORKER: Final = (
    "import json,sys;import kubiya_worker,temporalio;"
    "print(json.dumps([kubiya_worker.__version__,kubiya_worker.__file__,sys.version_info[:2]]))"
)


def ensure(home: Home, settings: Settings, say: Say, *, in_use: Callable[[], bool] = lambda: False) -> Path:
    """Make sure that the venv is right. Return its Python. Raises WorkerError with a remedy.

    `in_use` tells whether another instance of the queue uses the venv; then it is left as it is.
    """
    with _locked(home, say):
        before = _read(home.requirements)
        python = find_python(settings.python_path)
        plan = packages.plan(settings, python, packages.own_requirements(before))
        home.write(home.requirements, packages.requirements_text(plan.requirement, before))
        venv_python = home.venv / "bin" / "python"
        stamp = _stamp(home.venv)
        if stamp and (stamp["fingerprint"] == plan.fingerprint or settings.no_update):
            return venv_python
        if stamp and in_use():
            say("venv: not changed, because another instance uses it; restart that instance later")
            return venv_python
        if stamp is None and _made_by_hand(home.venv, plan):
            say("venv: using the one that was made by hand")
            return venv_python
        _make(home.venv, plan, settings, say)
        return venv_python


def find_python(wanted: str | None) -> Interpreter:
    """Return the interpreter for the worker. Raises ConfigurationError if it is missing, too old or broken."""
    if not wanted:
        return packages.running_python()
    path = shutil.which(str(Path(wanted).expanduser()))
    if path is None:
        raise ConfigurationError(f"PYTHON_PATH {wanted!r} is not a program", remedy="Set it to a Python 3.11 or newer")
    interpreter = _describe(path)
    if interpreter is None or interpreter.version < OLDEST:
        description = f"Python {'.'.join(map(str, interpreter.version))}" if interpreter else _version_of(path)
        raise ConfigurationError(
            f"PYTHON_PATH {wanted!r} is {description or 'not a Python that works'}",
            remedy="Set it to a Python 3.11 or newer",
        )
    return interpreter


def _describe(path: str) -> Interpreter | None:
    """Ask a Python for its data; None if it does not answer as a Python does."""
    try:
        finished = _run([path, "-I", "-c", _ABOUT], ASK_WITHIN)
        executable, prefix, version = json.loads(finished.stdout)
        return Interpreter(str(executable), str(prefix), (version[0], version[1], version[2]))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, IndexError):
        return None


def _version_of(path: str) -> str:
    """Return the version line of a Python that is too old to know the flags."""
    try:
        finished = _run([path, "-V"], ASK_WITHIN)
    except (OSError, subprocess.SubprocessError):
        return ""
    text = (finished.stdout + finished.stderr).strip()
    return text if text.startswith("Python ") else ""


@contextmanager
def _locked(home: Home, say: Say) -> Iterator[None]:
    """Lock the venv, so that one process per queue works on it. The lock file stays: removing it would let two in."""
    descriptor = os.open(home.queue_folder / ".venv.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not lock.try_lock(descriptor):
            say("venv: another start is changing it; waiting")
            lock.lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _stamp(venv: Path) -> dict[str, Any] | None:
    """Return the stamp of a finished venv; None when it is missing, unfinished or visibly broken. Starts no process."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        whole = os.access(venv / "bin" / "python", os.X_OK) and Path(stamp["proof"]).exists()
        return stamp if whole and isinstance(stamp["fingerprint"], str) and not (venv / MAKING).exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_stamp(venv: Path, plan: Plan, proof: str) -> None:
    """Write the stamp. `proof` is a file without which the venv is broken."""
    stamp = {"fingerprint": plan.fingerprint, "proof": proof, "worker": plan.requirement}
    files.replace(venv / STAMP, json.dumps(stamp))


def _made_by_hand(venv: Path, plan: Plan) -> bool:
    """Return whether this is a person's own venv with this worker in it, made from `requirements.txt`."""
    if (venv / MAKING).exists() or (venv / STAMP).exists():
        return False  # one of ours that is unfinished or broken
    version, origin, _ = _examine(venv)
    if version is None or (version != __version__ and f"=={version}" not in plan.requirement):
        return False
    _write_stamp(venv, plan, origin)
    return True


def _examine(venv: Path) -> tuple[str | None, str, str]:
    """Return the worker's version in a venv and its file; if there is none, the reason."""
    python = venv / "bin" / "python"
    if not os.access(python, os.X_OK):
        return None, "", "it has no Python"
    finished = None
    try:
        finished = _run([str(python), "-I", "-c", _WORKER], ASK_WITHIN)
        version, origin, python_version = json.loads(finished.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        last = finished.stderr.strip().splitlines()[-1:] if finished else []
        return None, "", "".join(last) or "its Python does not run"
    if tuple(python_version) < OLDEST:
        return None, "", "its Python is too old"
    return str(version), str(origin), ""


def _make(venv: Path, plan: Plan, settings: Settings, say: Say) -> None:
    began = time.monotonic()
    if venv.is_symlink() or venv.exists():
        say("venv: created again; the old one was incomplete, broken, or made for other settings")
        _remove(venv)
    venv.mkdir(mode=0o700)
    (venv / MAKING).touch(mode=0o600)
    _create(venv, plan, say)
    library = next((venv / "lib").glob("python3*/site-packages"), None)
    if library is None:
        raise ConfigurationError(
            f"{plan.python.path} made a venv without site-packages", remedy="Set PYTHON_PATH to another Python"
        )
    if plan.folders:
        lines = [f"import site; site.addsitedir({folder!r})" for folder in plan.folders]
        (library / PATH_FILE).write_text("\n".join(lines) + "\n")
        proof = str(library / PATH_FILE)
    else:
        say(f"venv: installing {plan.requirement}")
        _install(venv, plan, plan.requirement, settings)
        version, proof, why = _examine(venv)
        if version is None:
            raise ConfigurationError(
                f"{plan.requirement} was installed and does not work: {why}", remedy="Choose another --package-source"
            )
    if plan.own:
        say(f"venv: installing your requirements ({len(plan.own.splitlines())} lines of requirements.txt)")
        _install(venv, plan, plan.own, settings)
    _write_stamp(venv, plan, proof)
    (venv / MAKING).unlink()
    how = "sees the running installation" if plan.folders else plan.requirement
    say(f"venv: ready in {time.monotonic() - began:.1f} s ({how})")


def _remove(venv: Path) -> None:
    """Remove the venv. It is renamed first, because a half-removed one must not look like a venv."""
    aside = venv.with_name(f".venv-{os.getpid()}")
    venv.rename(aside)
    if aside.is_symlink():
        aside.unlink()
        return
    shutil.rmtree(aside, ignore_errors=True)


def _create(venv: Path, plan: Plan, say: Say) -> None:
    if plan.python == packages.running_python():
        import venv as builder

        builder.EnvBuilder(symlinks=True, with_pip=False).create(str(venv))
        return
    say(f"venv: making one with Python {'.'.join(map(str, plan.python.version))} ({plan.python.path})")
    uv = find_uv()
    if (
        uv
        and _run([uv, "venv", "-q", "--allow-existing", "--python", plan.python.path, str(venv)], 120).returncode == 0
    ):
        return
    finished = _run([plan.python.path, "-m", "venv", "--without-pip", str(venv)], 120)
    if finished.returncode:
        raise ConfigurationError(
            f"{plan.python.path} cannot make a venv: {_last(finished)}", remedy="Install its venv module, or uv"
        )


def find_uv() -> str | None:
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")


def has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _pip(venv: Path) -> list[str]:
    """Return the command of the running installation's pip for the venv.

    An installation without pip (uv makes such) gets one inside the venv. Raises ConfigurationError.
    """
    python = str(venv / "bin" / "python")
    if has_pip():
        return [sys.executable, "-m", "pip", "--python", python]
    if _run([python, "-m", "ensurepip", "--default-pip"], INSTALL_WITHIN).returncode:
        raise ConfigurationError(
            "There is neither uv nor pip to install packages with", remedy="Install uv, or pip (python3-venv on Debian)"
        )
    return [python, "-m", "pip"]


def _install(venv: Path, plan: Plan, requirements: str, settings: Settings) -> None:
    """Install requirements with uv, else with pip.

    Packages that the venv uses from the running installation keep their versions.
    """
    with tempfile.TemporaryDirectory(dir=venv) as folder:
        wanted, pinned = Path(folder) / "wanted.txt", Path(folder) / "pinned.txt"
        wanted.write_text(requirements + "\n")
        pinned.write_text("".join(f"{line}\n" for line in (_pins() if plan.folders else ())))
        files = ["-r", str(wanted), "-c", str(pinned)]
        uv = find_uv()
        if uv:
            command = [
                uv,
                "pip",
                "install",
                "-q",
                "--python",
                str(venv / "bin" / "python"),
                "--compile-bytecode",
                *files,
            ]
            command += ["--no-cache"] if settings.no_cache else []
            environment = _uv_environment()
        else:
            command = [*_pip(venv), "install", "-q"]
            command += ["--disable-pip-version-check", *(["--no-cache-dir"] if settings.no_cache else []), *files]
            environment = dict(os.environ)
        environment.pop("KUBIYA_API_KEY", None)  # build scripts of packages must not see the key
        try:
            finished = _run(command, INSTALL_WITHIN, environment)
        except subprocess.TimeoutExpired as error:
            raise TemporaryFailure(
                f"Installing took over {INSTALL_WITHIN:g} s", remedy="Check the package index and the network"
            ) from error
    if finished.returncode:
        raise ConfigurationError(
            f"The packages could not be installed ({'uv' if uv else 'pip'}): {_last(finished)}",
            remedy="Check requirements.txt and that a package index can be reached",
        )


def _pins() -> list[str]:
    """Return the running installation's packages as pins, without the worker, which a constraint cannot hold."""
    versions = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return sorted(f"{name}=={version}" for name, version in versions.items() if name.lower() != packages.NAME)


def _uv_environment() -> dict[str, str]:
    """Return the environment for uv. It gets pip's package index, because uv reads other names than pip does."""
    environment = dict(os.environ)
    if not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & environment.keys():
        index = environment.get("PIP_INDEX_URL")
        if not index:
            finished = _run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], ASK_WITHIN)
            index = finished.stdout.strip() if finished.returncode == 0 else ""
        if index:
            environment["UV_DEFAULT_INDEX"] = index
    return environment


def _run(
    argv: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )


def _last(finished: subprocess.CompletedProcess[str]) -> str:
    """Return an installer's error in one line."""
    lines = [line.strip() for line in (finished.stderr or finished.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or line.startswith("╰")]
    return " ".join((errors or lines[-2:] or ["it said nothing"])[:3])[:400]
