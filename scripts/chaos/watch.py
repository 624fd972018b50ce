"""The view from outside: the daemon's files, its log, the process table."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil

from kubiya_worker.tools.processes.cleanup import MARKER
from scripts.chaos.evidence import Log

LOOK_EVERY: Final = 0.1  # seconds
TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
NUMBERED: Final = re.compile(rf"({TIME}) info chaos\.line pid=(\d+) n=(\d+) x{{40}} end")
A_LINE: Final = re.compile(rf"{TIME} (debug|info|warning|error|critical) \S.*")
RAW: Final = "kubiya worker: "  # said where there is no logger any more
LOST: Final = re.compile(r" supervisor\.log_lost .*\blines=(\d+)")
BACKOFF: Final = re.compile(r" supervisor\.backing_off .*\bdelay=([\d.]+)s")

T = TypeVar("T")


def is_whole(line: str) -> bool:
    if "chaos.line" in line:
        return NUMBERED.fullmatch(line) is not None
    return A_LINE.fullmatch(line) is not None or line.startswith(RAW)


def read_log(paths: Iterable[Path]) -> Log:
    """Read the log from its rotated files, oldest first."""
    log = Log()
    for path in paths:
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            log.torn.append(f"{path.name} ends with {content[-80:]!r}")
        for line in content.decode(errors="replace").splitlines():
            take(log, line)
    return log


def take(log: Log, line: str) -> None:
    log.looked += 1
    if not is_whole(line):
        log.torn.append(line[:200])
    elif numbered := NUMBERED.fullmatch(line):
        log.numbers.setdefault(int(numbered[2]), []).append(int(numbered[3]))
    elif lost := LOST.search(line):
        log.told += int(lost[1])


def log_files(folder: Path) -> list[Path]:
    """Oldest first."""
    backups = [path for path in folder.glob("worker.log.*") if path.suffix[1:].isdigit()]
    return [*sorted(backups, key=lambda path: -int(path.suffix[1:])), folder / "worker.log"]


class Watch:
    """A thread that follows the log, and looks at the state file, all the time."""

    def __init__(self, folder: Path) -> None:
        self._state, self._log = folder / "state.json", folder / "logs" / "worker.log"
        self.log = Log()
        self.looks, self.problems = 0, list[str]()
        self.backoffs: list[float] = []
        self.last_time = 0.0  # what the last numbered line says the time is
        self._file: Any = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(10)
        if self._file is not None:
            self._file.close()

    def _run(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self._follow()
            with contextlib.suppress(FileNotFoundError):
                text = self._state.read_text()
                self.looks += 1
                try:
                    json.loads(text)
                except ValueError:
                    self.problems.append(f"state.json does not parse: {text[:80]!r}")

    def _follow(self) -> None:
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):
                self._file = self._log.open("rb")
            return
        self._read()
        with contextlib.suppress(FileNotFoundError):
            if self._log.stat().st_ino != os.fstat(self._file.fileno()).st_ino:
                self._read()
                self._file.close()
                self._file = self._log.open("rb")

    def _read(self) -> None:
        at = self._file.tell()
        data = self._file.read()
        end = data.rfind(b"\n") + 1  # what comes after may be under way, or be taken back
        self._file.seek(at + end)
        for line in data[:end].decode(errors="replace").splitlines():
            take(self.log, line)
            if numbered := NUMBERED.fullmatch(line):
                self.last_time = datetime.fromisoformat(numbered[1]).timestamp()
            elif backoff := BACKOFF.search(line):
                self.backoffs.append(float(backoff[1]))


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def disagreement(folder: Path) -> str:
    """Describe where a running daemon's files disagree with the process table; empty when they agree."""
    state, pid_file = read_json(folder / "state.json"), read_json(folder / "worker.pid")
    try:
        info = (folder / "daemon_info.txt").read_text()
    except OSError:
        return "there is no daemon_info.txt"
    supervisor, child = (state.get("supervisor") or {}).get("pid"), state.get("child") or {}
    if state.get("state") != "running" or not child:
        return f"state.json says {state.get('state')}: {state.get('why')}"
    if pid_file.get("pid") != supervisor:
        return f"worker.pid says {pid_file.get('pid')}, state.json says {supervisor}"
    try:
        above = [parent.pid for parent in psutil.Process(child["pid"]).parents()]
    except psutil.Error:
        return f"the worker {child['pid']} does not run"
    if supervisor not in above:
        return f"the worker {child['pid']} is not below the supervisor {supervisor}"
    for pid in (supervisor, child["pid"]):
        if not re.search(rf"\b{pid}\b", info):
            return f"daemon_info.txt does not name {pid}: {info[:300]!r}"
    drafts = [path.name for path in folder.iterdir() if path.name.endswith(".draft")]
    return f"drafts are left: {drafts}" if drafts else ""


def strangers(known: set[int], supervisor: int, worker: int, *, idle: bool) -> list[str]:
    """Return the processes below this one that should not run. It is the subreaper of all that it started.

    `idle`: no execution is under way, so there are no tools either.
    """
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            above = [parent.pid for parent in process.parents()]
            if process.pid in known or process.pid in (supervisor, worker):
                continue
            if worker in above:
                if not idle or MARKER not in process.environ():
                    continue
            elif supervisor in above and process.pid == psutil.Process(worker).ppid():
                continue  # the guard
            elif known & set(above):
                continue
            found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
        except psutil.Error:
            continue  # it has ended
    return found


def reap(known: set[int]) -> None:
    """Orphans come to a subreaper and are its to bury; what `known` says has a parent that waits for it."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if process.pid not in known and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)


def within(seconds: float, ask: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """The first answer that is empty, or the last one when the time is up."""
    for _ in range(max(1, int(seconds / 0.1))):
        answer = ask()
        if not answer:
            return answer
        sleep(0.1)
    return ask()
