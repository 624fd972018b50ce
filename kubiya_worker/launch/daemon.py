"""Start a worker under a supervisor: write the supervisor's orders and wait for the start.

The supervisor is a separate program (`python -m kubiya_worker._supervisor`; `supervisor/spec.py` has its contract).
It gets its orders on standard input and the worker's secrets in its environment, and reports the start through a pipe.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker import credentials
from kubiya_worker.errors import TemporaryFailure
from kubiya_worker.launch import init
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.local import worker_environment
from kubiya_worker.launch.queue import Queue
from kubiya_worker.settings import Settings
from kubiya_worker.settings.table import BY_NAME

CANCEL_SLACK: Final = 6.0  # seconds after the grace period: the worker ends cancelled steps, then disconnects
DRAIN_SIGNAL: Final = "QUIT"  # the signal for supervisor and worker alike
KILL_AFTER: Final = 5.0  # seconds from the second SIGTERM to SIGKILL
WATCHDOG: Final = 60.0  # seconds without a sign of life after which a worker is hung
LOG_LEVEL_SECONDS: Final = 600.0
SUPERVISOR: Final = "kubiya_worker._supervisor"  # docs/decisions/011-supervisor-inside.md
EX_PID_FILE_HELD: Final = 73  # the supervisor's exit code when another one holds the PID file


@dataclass(frozen=True)
class StartEvent:
    """One line of the readiness pipe. `ready` is None until the last one."""

    ready: bool | None
    pid: int | None = None
    worker_pid: int | None = None
    exit_code: int | None = None
    reason: str = ""
    last_lines: tuple[str, ...] = ()
    event: str = ""
    kind: str = ""
    retry_in: float | None = None

    @classmethod
    def parse(cls, line: str) -> StartEvent:
        raw = json.loads(line)
        return cls(
            ready=raw.get("ready"),
            pid=raw.get("pid"),
            worker_pid=raw.get("worker_pid"),
            exit_code=raw.get("exit_code"),
            reason=str(raw.get("reason") or ""),
            last_lines=tuple(map(str, raw.get("last_lines") or ())),
            event=str(raw.get("event") or ""),
            kind=str(raw.get("class") or ""),
            retry_in=raw.get("retry_in"),
        )


def daemon_settings(home: Home, settings: Settings) -> Settings:
    """Return the settings, with the worker's own folder in place of each default that several workers would share.

    Without this the daemons of one host would write the same probe files and work in the same workspace.
    """
    changed: dict[str, str] = {}
    for name, path in (
        ("alive_file", home.folder / "worker-alive"),
        ("ready_file", home.folder / "worker-ready"),
        ("workspace", home.folder / "workspaces"),
        ("spool", home.queue_folder / "spool"),  # shared by all instances: one delivers events that another has left
        (
            "long_commands",
            home.queue_folder / "commands",
        ),  # shared: another instance may read what one has begun
        ("status_file", home.status_file),
        ("supervisor_state", home.state_file),
    ):
        if getattr(settings, name) == BY_NAME[name].default:
            changed[name] = str(path)
    # `kubiya worker start` reports to this socket. A worker would report again at each restart, when nobody listens.
    return replace(settings, readiness_socket=None, **changed)  # type: ignore[arg-type]


def environment(home: Home, settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of supervisor and worker: the settings, including the secrets."""
    own = {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
    return {**worker_environment(daemon_settings(home, settings), environ), **own}


def secret_names(variables: Mapping[str, str]) -> list[str]:
    """Return the names of variables that are secret by their name or their value."""
    return [
        name
        for name, value in variables.items()
        if credentials.may_be_secret(name, value) or credentials.certain(name, value)
    ]


def spec(home: Home, settings: Settings, argv: list[str], queue: Queue) -> dict[str, Any]:
    """Return the supervisor's orders. They hold no secrets."""
    return {
        "name": "worker",
        "argv": argv,
        "pid_file": str(home.pid_file),
        "info_file": str(home.info_file),
        "state_file": str(home.state_file),
        "log_file": str(home.log_file),
        "cwd": str(home.folder),
        "watchdog": WATCHDOG,
        "grace_period": settings.grace_period + CANCEL_SLACK,
        "kill_after": KILL_AFTER,
        "drains": f"SIG{DRAIN_SIGNAL}",
        "keep": str(home.folder / "kept"),
        "keep_beyond": settings.keep_long_commands,
        "max_size": settings.max_log_size,
        "max_backups": settings.max_log_backups,
        "log_level_seconds": LOG_LEVEL_SECONDS,
        "pid_fields": {
            "queue_id": queue.id or settings.queue_id,
            "queue_name": queue.name or settings.queue_id,
            "instance": str(home.instance),
            "control_plane_url": settings.control_plane_url,
            "worker_dir": str(home.folder),
            "deployment_type": "local",
            "drain_signal": DRAIN_SIGNAL,
            "stop_within": f"{settings.grace_period + CANCEL_SLACK + KILL_AFTER:g}",
        },
        "info_lines": info_lines(home),
    }


def info_lines(home: Home) -> list[str]:
    """Return the lines that daemon_info.txt adds to the supervisor's own facts."""
    return [
        "Commands:",
        f"  kubiya worker status {home.flags}",
        f"  kubiya worker logs {home.flags} -f",
        f"  kubiya worker restart {home.flags}",
        f"  kubiya worker stop {home.flags}",
        f"  kubiya worker drain {home.flags}",
    ]


class Launch:
    """A supervisor that is starting. Its events come until one has `ready` true or false."""

    def __init__(self, home: Home, settings: Settings, argv: list[str], queue: Queue) -> None:
        variables = environment(home, settings, os.environ)
        orders = json.dumps({**spec(home, settings, argv, queue), "secret_names": secret_names(variables)}).encode()
        self._reader, writer = os.pipe()
        command = [sys.executable, "-P", "-m", SUPERVISOR, "--spec-fd", "0", "--ready-fd", str(writer)]
        try:
            self._process = subprocess.Popen(
                command,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(writer,),
                cwd="/",
            )
        finally:
            os.close(writer)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(orders)
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # the supervisor has ended; the readiness pipe reports it

    def events(self, timeout: float) -> Iterator[StartEvent]:
        """Yield events until the last one, or for at most `timeout` seconds.

        Raises TemporaryFailure when the pipe ends without a result.
        """
        deadline = time.monotonic() + timeout
        unfinished = b""
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([self._reader], [], [], remaining)[0]:
                return
            data = os.read(self._reader, 65536)
            if not data:
                raise TemporaryFailure("The supervisor ended while it was starting", remedy="See the log")
            *lines, unfinished = (unfinished + data).split(b"\n")
            for line in lines:
                event = StartEvent.parse(line.decode(errors="replace"))
                yield event
                if event.ready is not None:
                    return

    def close(self) -> None:
        """Stop waiting for the start; the supervisor goes on."""
        os.close(self._reader)
        self._process.wait()  # reap the first process, which ended when it had forked; else it would stay a zombie


def run_in_foreground(home: Home, settings: Settings, argv: list[str], queue: Queue) -> int:
    """Run the supervisor in the foreground, for PID 1 of a container. Return its exit code.

    This process stays: it reaps orphans and passes signals on.
    """
    reader, writer = os.pipe()
    orders = json.dumps(spec(home, settings, argv, queue)).encode()
    os.set_blocking(writer, False)
    if os.write(writer, orders) != len(orders):  # a pipe holds 64 KiB
        raise TemporaryFailure(
            f"The arguments and variables of the supervisor take {len(orders)} bytes, and a pipe holds 64 KiB",
            remedy="Give the container fewer or shorter variables",
        )
    os.close(writer)
    os.set_inheritable(reader, True)
    command = [sys.executable, "-P", "-m", SUPERVISOR, "--spec-fd", str(reader), "--foreground"]
    return init.run(command, environment(home, settings, os.environ))


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty when the file is missing or incomplete."""
    try:
        if not path.is_file():  # reading a named pipe would block
            return {}
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
