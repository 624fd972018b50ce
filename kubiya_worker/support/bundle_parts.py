"""The parts of a bundle. Each is made when its turn comes; one that fails is left out, with the reason.

No secrets are removed here: `bundle.py` does that for all parts, including their names.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import locale
import os
import platform
import resource
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from kubiya_worker import __version__
from kubiya_worker._supervisor.posix.environment import OVERWRITTEN
from kubiya_worker.errors import WorkerError
from kubiya_worker.launch import containers, exposition, logfiles
from kubiya_worker.launch.containers import FoundContainer
from kubiya_worker.launch.report import WorkerReport
from kubiya_worker.launch.service_plan import CARRIED
from kubiya_worker.settings import sources
from kubiya_worker.settings.table import OPTIONS

LOG_BYTES: Final = 1 << 20  # bytes at the end of one worker's log
LOGS_BYTES: Final = 8 << 20  # bytes of all logs together
CONTAINER_LINES: Final = 10_000
STACK_LOG_BYTES: Final = 256 << 10
FILE_BYTES: Final = 1 << 20  # bytes of any other file
LIMITS: Final = ("NOFILE", "NPROC", "AS", "CORE", "MEMLOCK", "STACK")
CGROUP: Final = ("memory.max", "memory.current", "memory.events", "cpu.max", "pids.max")
_SPOKEN: Final = ("worker.log", "deaths.txt", "status.json", "state.json", "worker-status.json")
HIDDEN: Final = "[set, hidden]"
_SECRET: Final = frozenset(name for option in OPTIONS if option.secret for name in option.env)
_TOLD: Final = frozenset([*CARRIED, *(name for option in OPTIONS for name in option.env)])


class PartMissing(Exception):
    """There is nothing to pack; the message is the reason."""


@dataclass(frozen=True)
class Part:
    """One part. `make` returns its text; an exception is the reason why there is none."""

    name: str
    about: str
    make: Callable[[], str]


def of_host(home: Path, flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None) -> list[Part]:
    return [
        Part("host.json", "the host: system, memory, disks, limits, clock", lambda: _json(host(home))),
        Part("versions.json", "this installation and its packages", lambda: _json(versions())),
        Part(
            "settings.json",
            "settings of this shell, and where each comes from",
            lambda: _json([_origin_row(origin) for origin in sources.origins(flags, environ, config)]),
        ),
    ]


def of_stack(folder: Path) -> list[Part]:
    """Return the parts with the local stack's logs."""
    logs = sorted(folder.glob("logs/*.log")) if folder.is_dir() else []
    return [
        Part(f"dev/{path.name}", "the end of the local stack's log", functools.partial(last, path, STACK_LOG_BYTES))
        for path in logs
    ]


def of_worker(report: WorkerReport, environ: Mapping[str, str] | None, share: int) -> list[Part]:
    """Return a worker's parts. `environ` is its environment, if it can be read; `share` the bytes for its log."""
    home = report.home
    folder = f"workers/{home.queue}" + ("" if home.instance == 1 else f"-{home.instance}")

    def part(name: str, about: str, make: Callable[[], str]) -> Part:
        return Part(f"{folder}/{name}", about, make)

    return [
        part("status.json", "the worker's state (kubiya worker status --json)", lambda: _json(report.as_json())),
        part("deaths.txt", "its last deaths", lambda: deaths(report)),
        part("environment.json", "settings that the running worker was started with", lambda: environment(environ)),
        part("processes.txt", "its processes", lambda: processes(report)),
        part("metrics.txt", "its figures", lambda: metrics(report)),
        part("worker.log", "the end of its log", lambda: last(home.log_file, share)),
        part("worker.pid", "the supervisor's identity", lambda: content(home.pid_file)),
        part("daemon_info.txt", "the same as text", lambda: content(home.info_file)),
        part("state.json", "the supervisor's status file", lambda: content(home.state_file)),
        part("worker-status.json", "the worker's status file", lambda: content(home.status_file)),
        part("requirements.txt", "the packages that its venv should have", lambda: content(home.requirements)),
        part("packages.txt", "the packages that its venv has", lambda: "\n".join(packages(home.venv)) + "\n"),
        part("files.txt", "its folder, with rights and sizes", lambda: listing(home.folder)),
    ]


def of_container(container: FoundContainer, share: int) -> list[Part]:
    """Return a container's parts. `share` is the number of bytes for its log."""
    folder = f"containers/{container.name}"
    return [
        Part(f"{folder}/status.json", "a worker in a container", lambda: _json(container.as_json())),
        Part(
            f"{folder}/inspect.json", "the engine's description of it", lambda: _json(containers.inspected(container))
        ),
        Part(f"{folder}/worker.log", "the end of its output", lambda: output(container, share)),
    ]


def output(found: FoundContainer, share: int) -> str:
    """Return the last whole lines of a container's output, at most `share` bytes. Raises Unavailable, PartMissing."""
    lines: list[str] = []
    for line in reversed(list(containers.lines(found, last=CONTAINER_LINES))):
        share -= len(line) + 1
        if share < 0:
            break
        lines.append(line)
    if not lines:
        raise PartMissing("nothing in it")
    return "\n".join(reversed(lines)) + "\n"


def environ_of(found: WorkerReport) -> dict[str, str] | None:
    """Return the running worker's variables; None when this user may not read them.

    Its secrets are overwritten there: `is_overwritten` tells which.
    """
    for pid in (found.worker_pid, found.pid if found.alive else None):
        try:
            if pid is not None:
                return psutil.Process(pid).environ()
        except (psutil.Error, OSError):
            continue
    return None


def is_overwritten(value: str) -> bool:
    """Return whether a process has overwritten this value of its environment."""
    return bool(value) and not value.strip(OVERWRITTEN)


def unknown_secrets(environ: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """Return the names of overwritten variables whose values `own`, this shell's variables, cannot be."""
    return [
        name
        for name, value in sorted(environ.items())
        if is_overwritten(value) and len(os.fsencode(own.get(name, ""))) != len(value)
    ]


def without_logs(parts: Iterable[Part], names: Sequence[str]) -> Iterator[Part]:
    """Yield the parts; those that hold the worker's own words are replaced by the reason why they are missing.

    `names` are variables with secrets that nobody can remove from them, as no worker answers that knows them.
    """

    def refuse() -> str:
        raise PartMissing(f"no worker answers that knows its secrets: set {', '.join(names)} as it had them")

    for part in parts:
        spoken = part.name.rpartition("/")[2] in _SPOKEN
        yield Part(part.name, part.about, refuse) if names and spoken else part


def content(path: Path) -> str:
    """Return the text of a small regular file. Raises OSError, PartMissing."""
    if not path.exists():
        raise PartMissing("not there")
    if not path.is_file():
        raise PartMissing("not a file")
    with path.open("rb") as file:
        return file.read(FILE_BYTES).decode(errors="replace")


def last(path: Path, size: int) -> str:
    """Return the last complete lines of a log and its rotations, at most `size` bytes. Raises OSError, PartMissing."""
    lines: deque[str] = deque()
    used = left = 0
    fault: Exception | None = None
    for each in (*logfiles.rotated(path), path):
        try:
            if each.exists() and not each.is_file():
                raise PartMissing("not a file")
            for line in logfiles.read_one(each):
                lines.append(line)
                used += len(line) + 1
                while used > size and len(lines) > 1:
                    used -= len(lines.popleft()) + 1
                    left += 1
        except FileNotFoundError:
            continue  # rotated away meanwhile, or never there
        except (OSError, PartMissing) as error:
            fault = error
    if not lines and fault:
        raise fault
    if not lines:
        raise PartMissing("nothing in it" if path.exists() else "not there")
    head = f"… {left} earlier lines are not here\n" if left else ""
    return head + "\n".join(line[-size:] for line in lines) + "\n"


def deaths(found: WorkerReport) -> str:
    known = found.state.get("deaths") or []
    if not known:
        raise PartMissing("none known")
    lines: list[str] = []
    for death in known:
        how = death.get("signal") or f"exit code {death.get('code')}"
        lines.append(
            f"{death.get('at')}  pid {death.get('pid')}  {how} ({death.get('class')}: {death.get('why')}) "
            f"after {death.get('uptime')} s"
        )
        lines += [f"    {text}" for text in death.get("last_lines") or []]
    return "\n".join(lines) + "\n"


def environment(environ: Mapping[str, str] | None) -> str:
    if environ is None:
        raise PartMissing("it does not run, or is another user's")
    secret_files = {f"{name}_FILE" for name in _SECRET}
    facts = {
        name: HIDDEN if name in _SECRET or is_overwritten(value) else value
        for name, value in sorted(environ.items())
        if name in _TOLD or name in secret_files
    }
    return _json(facts)


def metrics(found: WorkerReport) -> str:
    url = found.live_status.get("metrics_url")
    if not url:
        raise PartMissing("no metrics port is set" if found.worker_pid else "it does not run")
    return exposition.page(str(url))


def processes(found: WorkerReport) -> str:
    if not found.alive or found.pid is None:
        raise PartMissing("it does not run")
    lines = [f"{'PID':>8} {'PPID':>8} {'CPU s':>9} {'RSS MiB':>9} {'THREADS':>8} {'FILES':>6}  STATUS    COMMAND"]
    root = psutil.Process(found.pid)
    for process in (root, *root.children(recursive=True)):
        try:
            with process.oneshot():
                times, about = process.cpu_times(), process.memory_info()
                row = (
                    f"{process.pid:>8} {process.ppid():>8} {times.user + times.system:>9.1f} {about.rss / 2**20:>9.1f}"
                )
                row += f" {process.num_threads():>8} {process.num_fds():>6}  {process.status():9} "
                lines.append(row + " ".join(process.cmdline()))
        except psutil.Error:
            continue  # it has just ended
    return "\n".join(lines) + "\n"


def packages(venv: Path) -> list[str]:
    """Return the packages as `pip freeze` does, without running the venv's Python. Raises PartMissing."""
    places = [str(path) for path in venv.glob("lib/python*/site-packages")]
    if not places:
        raise PartMissing("there is no venv")
    return _frozen(importlib.metadata.distributions(path=places))


def versions() -> dict[str, Any]:
    return {
        "kubiya_worker": __version__,
        "python": sys.version,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "packages": _frozen(importlib.metadata.distributions()),
    }


def _frozen(found: Any) -> list[str]:
    lines: set[str] = set()
    for each in found:
        origin = each.read_text("direct_url.json")
        url = f" @ {json.loads(origin).get('url')}" if origin else ""
        lines.add(f"{each.metadata['Name']}=={each.version}{url}")
    return sorted(lines, key=str.lower)


def host(home: Path) -> dict[str, Any]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "time": datetime.now(UTC).isoformat(),
        "zone": time.strftime("%Z %z"),
        "booted": datetime.fromtimestamp(psutil.boot_time(), UTC).isoformat(),
        "platform": platform.platform(),
        "system": _release(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "container": _container(),
        "locale": locale.setlocale(locale.LC_CTYPE),
        "user": os.getuid(),
        "cpus": psutil.cpu_count(),
        "load": os.getloadavg(),
        "memory": {"total": memory.total, "available": memory.available, "swap": swap.total, "swap_used": swap.used},
        "disks": {str(place): _disk(place) for place in (home, Path("/tmp"), Path("/"))},  # noqa: S108 - looked at only
        "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in LIMITS if _limit(name)},
        "cgroup": _cgroup(),
        "programs": {name: shutil.which(name) for name in ("docker", "podman", "systemctl", "uv", "git", "temporal")},
    }


def _release() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return " ".join(filter(None, (platform.system(), platform.release())))


def _limit(name: str) -> bool:
    return hasattr(resource, f"RLIMIT_{name}")


def _container() -> str | None:
    marks = {"docker": "/.dockerenv", "podman": "/run/.containerenv"}
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    return next((name for name, path in marks.items() if Path(path).exists()), None)


def _disk(place: Path) -> dict[str, int] | str:
    try:
        while not place.exists():
            place = place.parent
        usage, about = shutil.disk_usage(place), os.statvfs(place)
    except OSError as error:
        return str(error.strerror)
    return {"total": usage.total, "free": usage.free, "inodes_free": about.f_favail}


def _cgroup() -> dict[str, str]:
    folder = Path("/sys/fs/cgroup")
    values: dict[str, str] = {}
    for name in CGROUP:
        try:
            values[name] = (folder / name).read_text().strip()
        except OSError:
            continue
    return values


def listing(folder: Path) -> str:
    """List two levels of a folder, without the contents of venv and workspaces. Raises PartMissing."""
    if not folder.is_dir():
        raise PartMissing("not there")
    lines = [f"{folder}"]
    for path in sorted(_below(folder, 2)):
        try:
            about = path.lstat()
        except OSError:
            continue
        when = datetime.fromtimestamp(about.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = path.relative_to(folder)
        lines.append(f"{about.st_mode & 0o177777:06o} {about.st_uid:>6} {about.st_size:>12} {when} {name}")
    return "\n".join(lines) + "\n"


def _below(folder: Path, depth: int) -> Iterator[Path]:
    for path in folder.iterdir():
        yield path
        if depth > 1 and path.is_dir() and not path.is_symlink() and path.name not in ("venv", "workspaces"):
            yield from _below(path, depth - 1)


def shares(count: int) -> int:
    """Return the bytes for the log of each of `count` workers. Pure."""
    return min(LOG_BYTES, LOGS_BYTES // max(1, count))


def _origin_row(origin: sources.Origin) -> dict[str, Any]:
    value = None if origin.value is None else origin.display if origin.option.secret else origin.value
    return {"name": origin.option.name, "value": value, "from": origin.source}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"


def reason(error: Exception) -> str:
    """Return in one line why a part is missing."""
    if isinstance(error, PartMissing):
        return str(error)
    if isinstance(error, WorkerError):
        return error.line()
    if isinstance(error, OSError):
        return str(error.strerror or error)
    return f"{type(error).__name__}: {error}"


def order(found: Sequence[WorkerReport]) -> list[WorkerReport]:
    """Sort running workers first."""
    return sorted(found, key=lambda one: not one.alive)
