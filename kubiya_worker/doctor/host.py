"""This host: interpreter, packages, disk, limits, files of workers, Docker."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kubiya_worker.doctor.check import FAIL, PASS, SKIP, WARN, Finding
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.venv import find_python

OLDEST: Final = (3, 11)
PACKAGES: Final = ("temporalio", "click", "requests", "psutil", "structlog", "yaml", "httpx2", "daemon")
DISK_FAIL, DISK_WARN = 100 * 2**20, 1024 * 2**20  # bytes free
INODES_WARN: Final = 10_000
VENV_WITHIN: Final = 20.0  # seconds for a venv's Python to start
FILES_WARN: Final = 1024  # open files: a worker with ten steps and a hundred connections stays below half of it
MORE_FILES: Final = "LimitNOFILE=4096 in the unit, docker run --ulimit, or /etc/security/limits.conf"
DOCKER_SOCKET: Final = "/var/run/docker.sock"
DOCKER_WITHIN: Final = 2.0  # seconds for its answer
PLAIN_KEY: Final = re.compile(r"""^\s*api_key:\s*["']?(?!\$\{)[^\s"'#]""", re.MULTILINE)


def python(wanted: str | None = None) -> Finding:
    """Check this Python, and the one that PYTHON_PATH names for the worker, as the start does."""
    if wanted:
        interpreter = find_python(wanted)
        return Finding(PASS, f"Python {'.'.join(map(str, interpreter.version))} at {interpreter.path}, by PYTHON_PATH")
    version = sys.version.split()[0]
    if sys.version_info < OLDEST:
        return Finding(FAIL, f"Python {version} is too old", "Install Python 3.11 or newer, or set PYTHON_PATH to one")
    return Finding(PASS, f"Python {version} at {sys.executable}")


def packages() -> Finding:
    """Check that the packages can be found. They are not imported, because that takes a second."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return Finding(FAIL, f"missing: {', '.join(missing)}", f"{sys.executable} -m pip install kubiya-worker")
    return Finding(PASS, f"temporalio {importlib.metadata.version('temporalio')} and {len(PACKAGES) - 1} others")


def supervisor_package() -> Finding:
    """Check that the supervisor is in the package: a copy of the sources without its link lacks it."""
    package = importlib.util.find_spec("kubiya_worker._supervisor")
    if package is None or package.origin is None:
        return Finding(FAIL, "kubiya_worker/_supervisor is missing", f"{sys.executable} -m pip install kubiya-worker")
    return Finding(PASS, str(Path(package.origin).parent))


def disk(home: Path) -> Finding:
    place = _existing(home)
    usage = shutil.disk_usage(place)
    text = f"{usage.free / 2**30:.1f} GiB free at {place}"
    if usage.free < DISK_FAIL:
        return Finding(FAIL, text, f"du -xh {place} | sort -h | tail")
    return Finding(WARN if usage.free < DISK_WARN else PASS, text, "" if usage.free >= DISK_WARN else "Free some space")


def inodes(home: Path) -> Finding:
    status = os.statvfs(_existing(home))
    if status.f_files == 0:
        return Finding(SKIP, "this file system has no fixed number of inodes")
    if status.f_favail < INODES_WARN:
        return Finding(WARN, f"{status.f_favail} inodes free", f"du --inodes -x {_existing(home)} | sort -n | tail")
    return Finding(PASS, f"{status.f_favail:,} inodes free")


def permissions(home: Path) -> Finding:
    """Check that only this user can read the folder of keys and logs."""
    if not home.exists():
        parent = _existing(home)
        if os.access(parent, os.W_OK):
            return Finding(PASS, f"{home} will be created")
        return Finding(
            FAIL, f"{parent} is not writable", f"chown {os.getuid()} {parent}, or set HOME to another folder"
        )
    status = home.stat()
    if not os.access(home, os.W_OK | os.X_OK):
        return Finding(FAIL, f"{home} is not writable", f"chown -R {os.getuid()} {home}")
    private = [home, home / "config", home / "dev" / "key"]
    private += [p for p in (home / "worker-config.yaml",) if _has_plain_key(p)]
    open_to = [p for p in private if p.exists() and _open_to_others(p)]
    if open_to:
        return Finding(WARN, f"{open_to[0]} can be read by other users", f"chmod -R go-rwx {open_to[0]}")
    return Finding(PASS, f"{home} is {stat.filemode(status.st_mode)}")


def folders_of_worker(folders: Mapping[str, Path]) -> Finding:
    """Check that the worker can write to its folders outside of ~/.kubiya, keyed by the variable that names each.

    One byte is written to each folder, and removed again.
    """
    for variable, folder in folders.items():
        if variable.endswith("_FILE") and not folder.is_dir():  # the worker does not create it
            return Finding(FAIL, f"{folder} is not a folder", f"mkdir -p {folder}, or set {variable} to another place")
        place = _existing(folder)
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"x")
        except OSError as error:
            text = f"nothing can be written to {place}: {error.strerror}"
            if error.errno == errno.EROFS:
                mount = f"mount {place} writable (Kubernetes: an emptyDir; Docker: --tmpfs {place})"
                return Finding(FAIL, text, f"Set {variable} to another place, or {mount}")
            looks = f"ls -ld {place}; df -h {place}; df -i {place}"
            return Finding(FAIL, text, f"Set {variable} to another place, or: {looks}")
    return Finding(PASS, f"{', '.join(map(str, dict.fromkeys(folders.values())))}" if folders else "no others")


def limits() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_WARN:
        text = f"{soft} open files allowed"
        if hard != resource.RLIM_INFINITY and hard < FILES_WARN:  # which this user cannot raise
            return Finding(WARN, text, MORE_FILES)
        return Finding(WARN, text, f"ulimit -n {min(hard, 4096) if hard != resource.RLIM_INFINITY else 4096}")
    return Finding(PASS, f"{soft if soft != resource.RLIM_INFINITY else 'unlimited'} open files")


def confinement(wanted: str) -> Finding:
    """Check whether tools are confined here, by the setting. A unit or container may forbid what this shell can do."""
    from kubiya_worker.tools.confinement import support  # imported here: most commands do not need it

    supported = support.probe()
    if wanted == support.OFF:
        could = "this kernel could confine them" if supported.works else supported.reason
        return Finding(WARN, f"off: tools may do what this user may do; {could}", support.OFF_REMEDY)
    if supported.works:
        return Finding(PASS, supported.means)
    return Finding(FAIL if wanted == support.REQUIRE else WARN, supported.reason, supported.remedy)


def pid_files(home: Path) -> Finding:
    """Check for PID files whose process has ended or is another one."""
    from kubiya_worker.launch import report  # imported here: it is slow, and most starts do not need it

    reports = [report.examine(worker) for worker in homes.homes(home / "workers")]
    stale = [one.home for one in reports if one.has_pid_file and not one.alive]
    if stale:
        text = f"{stale[0].pid_file} was left by a supervisor that is gone"
        return Finding(WARN, text, f"kubiya worker stop {stale[0].flags}")
    running = sum(one.alive for one in reports)
    return Finding(PASS, f"no stale PID files, {running} workers of this user run" if running else "no stale PID files")


def venvs(home: Path) -> Finding:
    """Check that each queue's venv has a Python that starts and the worker's package."""
    all_venvs = sorted({worker.venv for worker in homes.homes(home / "workers") if worker.venv.is_dir()})
    for venv in all_venvs:
        argv = [
            str(venv / "bin" / "python"),
            "-I",
            "-c",
            "import importlib.util as u; assert u.find_spec('kubiya_worker')",
        ]
        try:
            finished = subprocess.run(argv, capture_output=True, text=True, timeout=VENV_WITHIN, check=False)
            fault = (finished.stderr.strip().splitlines() or ["it ends at once"])[-1] if finished.returncode else ""
        except (OSError, subprocess.SubprocessError) as error:
            fault = getattr(error, "strerror", None) or str(error)
        if fault:
            text = f"{venv} cannot run a worker: {fault}"
            return Finding(FAIL, text, f"rm -rf {venv}; the next kubiya worker start makes it anew")
    return Finding(PASS, f"{len(all_venvs)} work" if all_venvs else "none yet; kubiya worker start makes one")


def docker(environ: Mapping[str, str]) -> Finding:
    """Check the Docker engine, which only `--type=docker` and the docker skill need."""
    address = environ.get("DOCKER_HOST", f"unix://{DOCKER_SOCKET}")
    if not address.startswith("unix://"):
        return Finding(SKIP, f"DOCKER_HOST is {address}")
    path = address.removeprefix("unix://")
    if not Path(path).exists():
        return Finding(SKIP, f"no Docker engine at {path}; only --type=docker needs one")
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(DOCKER_WITHIN)
            probe.connect(path)
            probe.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            answer = probe.recv(64)
    except TimeoutError:
        return Finding(WARN, f"{path} does not answer within {DOCKER_WITHIN:g} s", "sudo systemctl restart docker")
    except PermissionError:
        return Finding(WARN, f"{path}: permission denied", "sudo usermod -aG docker $USER, and log in again")
    except OSError as error:
        return Finding(WARN, f"{path}: {error.strerror or error}", "sudo systemctl start docker")
    if b" 200 " not in answer:
        return Finding(WARN, f"{path} is not a Docker engine's", "Check DOCKER_HOST")
    return Finding(PASS, f"an engine answers at {path}")


def _existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return path if path.exists() else _existing(path.parent)


def _has_plain_key(path: Path) -> bool:
    """Return whether a configuration file holds a key itself, instead of the name of a variable or file."""
    try:
        return bool(PLAIN_KEY.search(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return False


def _open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o077)
