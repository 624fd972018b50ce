"""Our supervisor beside runit (runsv, svlogd) and supervisord, in one run on this machine.

    scripts/bench/supervisor [--json] [--quick]

restart_ms      median time from kill -9 of a child that had run for 1.3 s to the first instruction of the next
rss_mb          of all processes that supervise and write the log, what they share counted in each; pss_mb: once
idle_cpu        percent of one core while the child sleeps
lines_per_s     100-byte lines through the log, until the last one is on disk
rotations, lost, split     of that many lines in files of 20 kB, all of which are kept

Debian's packages are unpacked into a temporary folder (apt-get download), not installed. What cannot be had is left out
and said. Run it with the project's environment active; nothing else should run.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

QUICK = "--quick" in sys.argv
KILLS = 3 if QUICK else 10
IDLE = 2.0 if QUICK else 10.0  # seconds
SPEED_LINES = 100_000 if QUICK else 500_000
ROTATED_LINES = 20_000 if QUICK else 220_000
FILE_SIZE = 20_000
BACKUPS = 3000
PATIENCE = 120.0

# Says when it began, then prints numbered lines, then sleeps.
CHILD = """
import os, sys, time
with open(sys.argv[1], "a") as f: f.write(f"{time.monotonic()} {os.getpid()}\\n")
count = int(sys.argv[2])
for start in range(0, count, 250):
    data = b"".join(b"%08d " % n + b"x" * 90 + b"\\n" for n in range(start, min(start + 250, count)))
    while data: data = data[os.write(1, data):]
time.sleep(10000)
"""


class Contender:
    """One way to run the child in `folder`; `size` is the log's limit."""

    name = ""

    def __init__(self, folder: Path, lines: int, size: int) -> None:
        self.folder, self.size = folder, size
        self.starts = folder / "starts"
        self.argv = [sys.executable, "-I", "-S", "-c", CHILD, str(self.starts), str(lines)]
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def children(self) -> list[tuple[float, int]]:
        if not self.starts.exists():
            return []
        return [(float(line.split()[0]), int(line.split()[1])) for line in self.starts.read_text().splitlines()]

    def family(self) -> list[psutil.Process]:
        """All but the child."""
        child = self.children()[-1][1]
        top = psutil.Process(self.process.pid)
        return [each for each in [top, *top.children(recursive=True)] if each.pid != child]

    def content(self) -> list[bytes]:
        return [path.read_bytes() for path in self.logs.iterdir() if path.name not in ("lock", "config", "state")]

    def stop(self) -> None:
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        _, alive = psutil.wait_procs([psutil.Process(self.process.pid), *family], timeout=5)
        for each in alive:
            each.kill()
        self.process.wait()


class Ours(Contender):
    name = "supervisor"

    def start(self) -> subprocess.Popen[bytes]:
        spec = {
            "argv": self.argv,
            "notify": False,
            "backoff_first": 0.001,
            "max_size": self.size,
            "max_backups": BACKUPS,
            "pid_file": str(self.folder / "pid"),
            "state_file": str(self.folder / "state"),
            "log_file": str(self.logs / "log"),
        }
        command = [sys.executable, "-m", "kubiya_worker._supervisor", "--spec-fd", "0", "--foreground"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert process.stdin
        process.stdin.write(json.dumps(spec).encode())
        process.stdin.close()
        return process


class Runit(Contender):
    name = "runit"
    root = Path()

    def start(self) -> subprocess.Popen[bytes]:
        tools = {name: next(self.root.glob(f"**/bin/{name}")) for name in ("runsv", "svlogd")}
        (self.logs / "config").write_text(f"s{self.size}\nn{BACKUPS}\n")
        log = self.folder / "service" / "log"
        log.mkdir(parents=True)
        import shlex

        for path, argv in (
            (self.folder / "service" / "run", self.argv),
            (log / "run", [str(tools["svlogd"]), str(self.logs)]),
        ):
            path.write_text(f"#!/bin/sh\nexec 2>&1\nexec {shlex.join(argv)}\n")
            path.chmod(0o755)
        return subprocess.Popen([str(tools["runsv"]), str(self.folder / "service")])


class Supervisord(Contender):
    name = "supervisord"
    root = Path()

    def start(self) -> subprocess.Popen[bytes]:
        (self.folder / "child.py").write_text(CHILD)
        command = f"{sys.executable} -I -S {self.folder}/child.py {self.argv[-2]} {self.argv[-1]}"
        (self.folder / "conf").write_text(
            f"[supervisord]\nnodaemon=true\nuser=root\nlogfile={self.folder}/own.log\npidfile={self.folder}/pid\n"
            f"[program:child]\ncommand={command}\nautorestart=true\nredirect_stderr=true\n"
            f"stdout_logfile={self.logs}/log\nstdout_logfile_maxbytes={self.size}\nstdout_logfile_backups={BACKUPS}\n"
        )
        return subprocess.Popen(
            ["/usr/bin/python3", str(next(self.root.glob("**/bin/supervisord"))), "-c", str(self.folder / "conf")],
            env={**os.environ, "PYTHONPATH": str(self.root / "usr/lib/python3/dist-packages")},
            stdout=subprocess.DEVNULL,
        )


def until(what: Any, patience: float = PATIENCE) -> Any:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        value = what()
        if value:
            return value
        time.sleep(0.002)
    raise TimeoutError(f"not within {patience:g} s")


@contextmanager
def running(kind: type[Contender], lines: int, size: int) -> Iterator[Contender]:
    with tempfile.TemporaryDirectory() as folder:
        contender = kind(Path(folder), lines, size)
        try:
            until(contender.children)
            yield contender
        finally:
            contender.stop()


def measure(kind: type[Contender]) -> dict[str, float]:
    figures: dict[str, float] = {}
    with running(kind, 0, 10_000_000) as it:
        late = []
        for number in range(KILLS):
            time.sleep(1.3)  # runsv and supervisord make a child wait that lived for less than a second
            killed = time.monotonic()
            os.kill(it.children()[-1][1], signal.SIGKILL)
            late.append(until(lambda number=number: len(it.children()) > number + 1 and it.children()[-1][0]) - killed)
        figures["restart_ms"] = round(statistics.median(late) * 1000, 1)
        family = it.family()
        figures["rss_mb"] = round(sum(each.memory_info().rss for each in family) / 1e6, 1)
        if sys.platform == "linux":
            figures["pss_mb"] = round(sum(each.memory_full_info().pss for each in family) / 1e6, 1)
        before = sum(sum(each.cpu_times()[:2]) for each in family)
        time.sleep(IDLE)
        figures["idle_cpu"] = round((sum(sum(each.cpu_times()[:2]) for each in family) - before) / IDLE * 100, 3)
    with running(kind, SPEED_LINES, 1_000_000_000) as it:
        began = it.children()[0][0]
        until(lambda: sum(path.stat().st_size for path in it.logs.iterdir()) >= SPEED_LINES * 100)
        figures["lines_per_s"] = round(SPEED_LINES / (time.monotonic() - began))
    with running(kind, ROTATED_LINES, FILE_SIZE) as it:

        def size() -> int:
            total = 0
            for path in it.logs.iterdir():
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    pass  # renamed meanwhile
            return total

        last, since = -1, time.monotonic()
        while size() < ROTATED_LINES * 100 and time.monotonic() - since < 5:
            time.sleep(0.2)
            now = size()
            if now != last:
                last, since = now, time.monotonic()
        files = it.content()
    whole = {int(line[:8]) for each in files for line in each.splitlines() if len(line) == 99 and line.endswith(b"x")}
    figures["rotations"] = len(files) - 1
    figures["lost"] = ROTATED_LINES - len(whole)
    figures["split"] = sum(not each.endswith(b"\n") for each in files if each)
    return figures


def debian(folder: Path) -> bool:
    """Unpack Debian's packages into the folder. Return False when that fails."""
    packages = ["runit", "supervisor", "python3-pkg-resources"]
    try:
        subprocess.run(["apt-get", "download", *packages], cwd=folder, check=True, capture_output=True)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def main() -> None:
    results: dict[str, dict[str, float]] = {"supervisor": measure(Ours)}
    with tempfile.TemporaryDirectory() as folder:
        if debian(Path(folder)):
            for kind in (Runit, Supervisord):
                kind.root = Path(folder)
                try:
                    results[kind.name] = measure(kind)
                except (OSError, StopIteration, TimeoutError) as error:
                    print(f"{kind.name} could not be measured: {error}", file=sys.stderr)
        else:
            print("runit and supervisord are left out: Debian's packages cannot be had here", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"machine": os.uname().release, "cores": os.cpu_count(), "results": results}, indent=2))
        return
    names = list(next(iter(results.values())))
    print(f"{'':12}" + "".join(f"{name:>13}" for name in names))
    for name, figures in results.items():
        print(f"{name:12}" + "".join(f"{figures[key]:>13}" for key in names))


if __name__ == "__main__":
    main()
