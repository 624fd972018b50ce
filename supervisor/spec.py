"""The spec names the program to run. This page is also the contract between supervisor, starter and child.

**Starting it.** The spec travels as one JSON object on an inherited descriptor or on standard input, never in argv:

    python -m kubiya_worker._supervisor --spec-fd N [--ready-fd M] [--foreground]      # N may be 0

It double-forks (not with `--foreground`), takes the lock of the instance, and runs `argv` with the environment that it
was started with plus `env`. Secrets are inherited through that environment or read by the child from files; nothing of
an environment is ever written anywhere.

**Readiness.** The pipe `--ready-fd` gets JSON lines. The last one, before the end of file, is the only one whose
`ready` is not null:

    {"ready": null, "event": "started", "pid": 41, "worker_pid": 43}
    {"ready": null, "event": "died", "exit_code": 75, "class": "network", "reason": "…", "last_lines": ["…"],
     "retry_in": 1.3}
    {"ready": true, "pid": 41, "worker_pid": 43, "log_file": "…"}
    {"ready": false, "exit_code": 77, "reason": "…", "last_lines": ["…"]}

An end of file without such a line means that the supervisor was killed. `exit_code` is also what the supervisor exits
with: the child's code for class `once`; 73 (EX_CANTCREAT) when another supervisor owns the instance (then `pid` is its
PID, if it is known); 64 for a spec that cannot be used; 74 (EX_IOERR) for a folder or file that cannot be made.

**The child** finds in its environment

    SUPERVISOR_DEATH_FD    a pipe that reaches its end of file when the supervisor is gone: finish within 3 s
    SUPERVISOR_RUN         marks this run's processes where the kernel cannot keep them together; hand it on to tools
    NOTIFY_SOCKET          sd_notify(3): READY=1, STATUS=…, WATCHDOG=1, STOPPING=1, RELOADING=1   (with `notify`);
                           DRAINING=1: it takes up nothing new and ends when it has finished, which may last
    SUPERVISOR_KEEP        a folder: a process that is named there (posix/kept.py) outlives the run   (with `keep`)
    WATCHDOG_USEC          without WATCHDOG=1 for that long, it is hung; until READY=1 every message counts, and
                           silence may last `start_silence`                                     (with `watchdog`)

and gets these signals:

    SIGTERM    stop; a second one more than 1 s later: now. `kill_after` seconds later the whole tree gets SIGKILL
    `drains`   take up nothing new, finish what runs however long that takes, exit with 0. SIGTERM may follow
    SIGUSR2    be verbose for the next `log_level_seconds`, counted from the last such signal. Sent after READY=1 only
    SIGABRT    hung: show where (Python's faulthandler does, see PYTHONFAULTHANDLER) and die; SIGKILL follows

It is the leader of its own session. Whatever it leaves behind when it ends, or when the supervisor is killed, is
killed within 5 s. With `keep`, what the child has named there goes on until the supervisor ends, or is killed, too;
with `keep_beyond` it goes on even then.

**The supervisor** understands

    SIGTERM, SIGINT    stop the child and exit; a second one more than 1 s later: within 5 s
    SIGQUIT            drain: `drains` to the child, no limit of time, then exit; without `drains` as SIGTERM
    SIGHUP             restart the child gracefully, or at once when it waits for its next start
    SIGUSR1            reopen the log file
    SIGUSR2            log level up for `log_level_seconds`

**Files.** All are 0600, in folders made 0700. `pid_file`: see `pidfile`, and for the lock file beside it `ownership`;
`state_file`: see `state`, and for the control socket in `<state_file>.run` `control`; `info_file`: for people. All but
the state file are removed at the end, unless they are somebody else's by then; the state file stays and says `stopped`
or `failed`. What is removed or overwritten meanwhile is made again within some seconds.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from .posix import kept
from .posix.guard import ChildCommand

CLASSES: Final[Mapping[str, tuple[int, ...]]] = {
    "done": (0,),  # the child has finished by itself, so the supervisor ends too
    "once": (64, 77, 78),  # usage, permission, configuration: another try changes nothing
    "network": (69, 75),  # a service cannot be reached: tried again for ever
}
"""Exit codes by class; any other code, and any signal, is a `crash`."""

# Variables for the supervisor itself, from what started it.
_OURS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_LISTS: Final = ("argv", "unset", "secret_names", "info_lines")
_SECONDS: Final = (
    *("ready_timeout", "watchdog", "start_silence", "grace_period", "kill_after"),
    *("healthy_after", "log_level_seconds"),
)


class SpecError(ValueError):
    """A field of the spec is missing, unknown or wrong. The message begins with its name."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.field = name


@dataclass(frozen=True)
class Spec:
    """The program to run and how to supervise it. Durations are in seconds, sizes in bytes, paths absolute.

    Raises SpecError, which names the field.
    """

    argv: tuple[str, ...]  # without secrets: every user of the machine can read it
    pid_file: str
    log_file: str
    state_file: str
    info_file: str = ""  # "": none
    cwd: str = "/"
    name: str = "worker"  # in the supervisor's own log lines
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # added to the starter's environment
    unset: tuple[str, ...] = ()  # variables removed from the starter's environment
    secret_names: tuple[str, ...] = ()  # variables that /proc must not show; others count by their own names, too

    notify: bool = True  # the child says READY=1; without, it is ready once it runs
    ready_timeout: float = 0.0  # from start to READY=1, then it counts as hung; 0: no limit
    watchdog: float = 60.0  # 0: none
    start_silence: float = 180.0  # without any message from the start until READY=1; no less than `watchdog`
    grace_period: float = 30.0  # from the first SIGTERM to the second
    kill_after: float = 5.0  # from the second SIGTERM to SIGKILL
    drains: str = ""  # name of the signal that makes the child drain; "": it cannot drain

    backoff_first: float = 2.0  # the first delay lies between 0 and this, the next between 0 and twice this, …
    backoff_longest: float = 300.0
    healthy_after: float = 60.0  # seconds of being ready after which the delays begin again
    give_up_after: int = 0  # crashes in a row; 0: never
    exit_classes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: dict(CLASSES))

    max_size: int = 104_857_600  # of the log file before it is rotated
    max_backups: int = 5
    compress: bool = False  # gzip rotated files
    total_cap: int = 0  # of the log file and its backups together; 0: no limit
    log_level_seconds: float = 600.0

    pid_fields: Mapping[str, str] = field(default_factory=dict)  # added to the PID file: queue_id, worker_dir, …
    info_lines: tuple[str, ...] = ()  # added to the info file: management commands, …
    keep: str = ""  # folder in which the child names processes that outlive its runs; "": none do
    keep_beyond: bool = False  # they outlive the supervisor, too
    portable: bool = False  # use no Linux-only features; for tests and unusual kernels

    def __post_init__(self) -> None:
        if not self.argv or not all(isinstance(part, str) and "\0" not in part for part in self.argv):
            raise SpecError("argv", "must be a non-empty list of strings")
        for name in _LISTS:
            _strings(name, getattr(self, name))
        for name in ("pid_file", "log_file", "state_file", "cwd", "info_file", "keep"):
            _path(name, getattr(self, name), optional=name in ("info_file", "keep"))
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name):
            raise SpecError("name", "must consist of letters, digits, '-', '_' and '.'")
        _signal("drains", self.drains)
        for name in ("env", "pid_fields"):
            _mapping(name, getattr(self, name))
        for name in _SECONDS:
            _number(name, getattr(self, name), least=0)
        _number("backoff_first", self.backoff_first, least=0.001)
        _number("backoff_longest", self.backoff_longest, least=self.backoff_first)
        _whole("max_size", self.max_size, least=1024)
        for name in ("max_backups", "give_up_after", "total_cap"):
            _whole(name, getattr(self, name), least=0)
        for name in ("notify", "compress", "keep_beyond", "portable"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(name, "must be true or false")
        _classes(self.exit_classes)

    @classmethod
    def from_json(cls, text: str | bytes) -> Spec:
        """Read a spec from JSON. Raises SpecError, also for unknown keys."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise SpecError("spec", f"is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise SpecError("spec", "must be a JSON object")
        known = {each.name: each for each in dataclasses.fields(cls)}
        for name in data:
            if name not in known:
                raise SpecError(str(name), "is not a field of the spec")
        for name, each in known.items():
            if name not in data and each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
                raise SpecError(name, "is missing")
        for name in _LISTS:
            if isinstance(data.get(name), list):
                data[name] = tuple(data[name])
        classes = data.get("exit_classes")
        if isinstance(classes, dict):
            data["exit_classes"] = {k: tuple(v) if isinstance(v, list) else v for k, v in classes.items()}
        return cls(**data)

    def child_environment(self, inherited: Mapping[str, str], notify: str) -> dict[str, str]:
        """Return the child's environment: ours, without the variables meant only for us, plus those of the spec.

        `notify` is the address of the notify socket; "": there is none.
        """
        environment = {key: value for key, value in inherited.items() if key not in _OURS and key not in self.unset}
        environment.update(self.env)
        if notify:
            environment["NOTIFY_SOCKET"] = notify
            if self.watchdog:
                environment["WATCHDOG_USEC"] = str(int(self.watchdog * 1_000_000))
        if self.keep:
            environment[kept.VARIABLE] = self.keep
        return environment

    def command(self) -> ChildCommand:
        """Return the program as a guard runs it."""
        return ChildCommand(self.argv, self.cwd, self.portable, self.keep, self.keep_beyond)

    def class_of(self, code: int | None) -> str:
        """Return the class of an exit code; None means that a signal ended the child."""
        return next((name for name, codes in self.exit_classes.items() if code in codes), "crash")


def _strings(name: str, value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(part, str) for part in value):
        raise SpecError(name, "must be a list of strings")


def _path(name: str, value: Any, *, optional: bool) -> None:
    if optional and value == "":
        return
    if not isinstance(value, str) or "\0" in value or not PurePath(value).is_absolute():
        raise SpecError(name, "must be an absolute path")


def _signal(name: str, value: Any) -> None:
    known = isinstance(value, str) and value in signal.Signals.__members__
    if value != "" and (not known or value in ("SIGKILL", "SIGSTOP", "SIGTERM")):
        raise SpecError(name, "must be the name of a signal that a program can have its own answer to, such as SIGQUIT")


def _mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise SpecError(name, "must map strings to strings")
    for key, text in value.items():
        if not key or "=" in key or "\0" in key + text:
            raise SpecError(name, f"has an impossible entry {key!r}")


def _number(name: str, value: Any, *, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        raise SpecError(name, f"must be a number of seconds, at least {least:g}")


def _whole(name: str, value: Any, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(name, f"must be a whole number, at least {least}")


def _classes(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise SpecError("exit_classes", "must map done, once and network to lists of exit codes")
    seen: set[int] = set()
    for name, codes in value.items():
        if name not in CLASSES:
            raise SpecError("exit_classes", f"{name!r} is none of {', '.join(CLASSES)}")
        if not isinstance(codes, tuple) or not all(type(code) is int and 0 <= code <= 255 for code in codes):
            raise SpecError("exit_classes", f"{name!r} must be a list of exit codes from 0 to 255")
        if seen & set(codes):
            raise SpecError("exit_classes", f"{min(seen & set(codes))} is in two classes")
        seen |= set(codes)
