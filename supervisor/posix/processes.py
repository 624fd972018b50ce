"""Find the descendants of a process, and tell processes apart although PIDs are reused.

The data comes from /proc on Linux; on other systems, and with `portable`, from psutil, which is imported on first use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from . import kernel, markers

MARK: Final = "SUPERVISOR_RUN"  # environment variable that marks the processes of one run
BOOT_TOLERANCE: Final = 60.0  # seconds by which two readings of the boot time may differ; used without a boot id


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    group: int
    session: int
    start: str  # start time: tells two processes with the same PID apart
    zombie: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """This tells one process from all others, on this boot of this machine."""

    pid: int
    start: str  # "ticks:…" since boot, or "time:…" since 1970
    boot: str  # "id:…", or "time:…" of the boot
    executable: str

    def to_dict(self) -> dict[str, Any]:
        return {"pid": self.pid, "start": self.start, "boot": self.boot, "executable": self.executable}

    @classmethod
    def from_dict(cls, data: Any) -> Identity | None:
        """Read an identity from its dictionary; None if it is not a valid one."""
        if not isinstance(data, dict):
            return None
        pid, texts = data.get("pid"), [data.get(key) for key in ("start", "boot", "executable")]
        if type(pid) is not int or pid <= 0 or not all(isinstance(text, str) and text for text in texts):
            return None
        return cls(pid, *(str(text) for text in texts))


class Table(Protocol):
    """A table is a source of information about processes."""

    def all(self) -> dict[int, Process]: ...
    def one(self, pid: int) -> Process | None: ...
    def executable(self, pid: int) -> str: ...
    def boot(self) -> str: ...
    def marked(self, run: str) -> list[int]: ...  # other processes that carry MARK with this run


class ProcTable:
    """This is the process table of Linux, read from /proc."""

    def all(self) -> dict[int, Process]:
        processes = (self.one(pid) for pid in self._pids())
        return {process.pid: process for process in processes if process is not None}

    def one(self, pid: int) -> Process | None:
        try:
            text = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        fields = text[text.rindex(b")") + 2 :].split()  # the name in parentheses may contain spaces and brackets
        return Process(
            pid=pid,
            parent=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            start=f"ticks:{int(fields[19])}",
            zombie=fields[0] in (b"Z", b"X"),
        )

    def executable(self, pid: int) -> str:
        try:
            return str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
        except OSError:
            return ""

    def boot(self) -> str:
        return "id:" + Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def marked(self, run: str) -> list[int]:
        return markers.pids_with(f"{MARK}={run}\0".encode())

    def _pids(self) -> Iterator[int]:
        return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


class PortableTable:
    """This is the process table of other systems, read with psutil."""

    def all(self) -> dict[int, Process]:
        import psutil

        processes = (self.one(pid) for pid in psutil.pids())
        return {process.pid: process for process in processes if process is not None}

    def one(self, pid: int) -> Process | None:
        import psutil

        try:
            process = psutil.Process(pid)
            with process.oneshot():
                return Process(
                    pid=pid,
                    parent=process.ppid(),
                    group=os.getpgid(pid),
                    session=os.getsid(pid),
                    start=f"time:{process.create_time():.2f}",
                    zombie=process.status() == psutil.STATUS_ZOMBIE,
                )
        except (psutil.Error, OSError):
            return None

    def executable(self, pid: int) -> str:
        import psutil

        try:
            return str(psutil.Process(pid).exe()).removesuffix(" (deleted)")
        except (psutil.Error, OSError):
            return ""

    def boot(self) -> str:
        if sys.platform == "darwin":
            import subprocess

            finished = subprocess.run(
                ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False
            )
            if finished.returncode == 0 and finished.stdout.strip():
                return "id:" + finished.stdout.strip()
        import psutil

        return f"time:{psutil.boot_time():.0f}"

    def marked(self, run: str) -> list[int]:
        import psutil

        marked = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(MARK) == run:
                    marked.append(process.pid)
            except (psutil.Error, OSError):
                pass  # the process has ended, or belongs to another user
        return marked


def table(portable: bool = False) -> Table:
    return ProcTable() if kernel.LINUX and not portable and Path("/proc/self/stat").exists() else PortableTable()


def identify(pid: int, source: Table) -> Identity | None:
    """Return the identity of a process; None when it does not exist or this user may not read it."""
    process, executable = source.one(pid), source.executable(pid)
    if process is None or process.zombie or not executable:
        return None
    return Identity(pid, process.start, source.boot(), executable)


def mismatch(identity: Identity, source: Table | None = None) -> str:
    """Return why the process that now has this PID is another one; "" when all four parts agree."""
    source = source or table(portable=identity.start.startswith("time:"))
    now = identify(identity.pid, source)
    if now is None:
        return f"no process {identity.pid} of this user runs"
    if now.start != identity.start:
        return f"process {identity.pid} is another one: started at {now.start}, not {identity.start}"
    if not _same_boot(now.boot, identity.boot):
        return f"process {identity.pid} is of another boot of this machine"
    if now.executable != identity.executable:
        return f"process {identity.pid} runs {now.executable}, not {identity.executable}"
    return ""


def _same_boot(one: str, other: str) -> bool:
    if one.startswith("time:") and other.startswith("time:"):
        try:
            return abs(float(one[5:]) - float(other[5:])) <= BOOT_TOLERANCE
        except ValueError:
            return False
    return one == other


def signal_identity(identity: Identity, number: int, source: Table | None = None) -> str:
    """Signal exactly the process with this identity. Return "" when the signal was sent, else the reason."""
    why: list[str] = []

    def still_it() -> bool:
        why.append(mismatch(identity, source))
        return not why[-1]

    try:
        sent = kernel.signal_process(identity.pid, number, still_it)
    except PermissionError:
        return f"this user may not signal process {identity.pid}"
    return "" if sent else (why[-1:] or [""])[0] or f"no process {identity.pid} runs"


def below(processes: Mapping[int, Process], root: int) -> list[Process]:
    """Return all living descendants of `root`, parents before children."""
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    descendants: list[Process] = []
    queue = list(children.get(root, ()))
    while queue:
        process = queue.pop(0)
        descendants.append(process)
        queue += [child for child in children.get(process.pid, ()) if child.pid != process.pid]
    return [process for process in descendants if not process.zombie]


def is_below(pid: int, root: int, source: Table) -> bool:
    """Return whether `pid` is `root` or a descendant of it at this moment."""
    for _ in range(64):
        if pid == root:
            return True
        process = source.one(pid)
        if process is None or process.parent <= 1:
            return False
        pid = process.parent
    return False


def remains(
    source: Table, root: int, session: int, run: str, *, reaper: bool, but: Iterable[int] = ()
) -> list[Process]:
    """Return the processes that are left of a run: all descendants of `root`.

    Without a subreaper (`reaper` false) orphans leave that tree; they are found by their session and mark.
    """
    every = source.all()
    processes = {process.pid: process for process in below(every, root)}
    if not reaper:
        for process in every.values():
            if process.session == session and session > 1:
                processes[process.pid] = process
        for pid in source.marked(run):
            if pid in every:
                processes[pid] = every[pid]
        for process in list(processes.values()):
            processes.update({child.pid: child for child in below(every, process.pid)})
    for pid in (root, os.getpid(), *but):
        processes.pop(pid, None)
    return [process for process in processes.values() if not process.zombie]


def signal_all(source: Table, processes: Iterable[Process], number: int) -> None:
    for process in processes:

        def still_it(process: Process = process) -> bool:
            now = source.one(process.pid)
            return now is not None and now.start == process.start

        try:
            kernel.signal_process(process.pid, number, still_it)
        except PermissionError:
            pass  # a setuid program: the process belongs to another user now
