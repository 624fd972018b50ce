"""This is the supervisor's program; `spec.py` has its contract. It is installed inside the package `kubiya_worker`.

python -m kubiya_worker._supervisor --spec-fd N [--ready-fd M] [--foreground]
python -m kubiya_worker._supervisor check PIDFILE         say whether its supervisor runs: JSON, and exit code 0 or 1
python -m kubiya_worker._supervisor signal PIDFILE TERM   signal that very process or nobody: the same answer
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .daemon import UMASK, Readiness, detach, ensure_streams
from .lines import utc
from .posix import environment, kernel, ownership, processes
from .posix.ownership import Held, Ownership
from .spec import Spec, SpecError

if TYPE_CHECKING:
    from .posix.processes import Identity
    from .posix.wakeup import WakeupPipe

EX_USAGE: Final = 64
EX_SOFTWARE: Final = 70
EX_CANTCREAT: Final = 73
EX_IOERR: Final = 74

SIGNALS: Final = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def main(argv: Sequence[str]) -> int:
    if len(argv) == 2 and argv[0] == "check":
        return _answer(ownership.find(argv[1]))
    if len(argv) == 3 and argv[0] == "signal":
        number = getattr(signal, f"SIG{argv[2].upper().removeprefix('SIG')}", None)
        if isinstance(number, signal.Signals):
            return _answer(ownership.signal_owner(argv[1], number))
    options = _options(argv)
    if options is None:
        print(__doc__, file=sys.stderr)  # noqa: T201 - a person has called this
        return EX_USAGE
    ensure_streams()
    return _supervise(options["--spec-fd"], Readiness(options.get("--ready-fd")), "--foreground" in options)


def _options(argv: Sequence[str]) -> dict[str, int] | None:
    descriptors: dict[str, int] = {}
    rest = list(argv)
    while rest:
        name = rest.pop(0)
        if name == "--foreground":
            descriptors[name] = 1
        elif name in ("--spec-fd", "--ready-fd") and rest and rest[0].isdecimal():
            descriptors[name] = int(rest.pop(0))
        else:
            return None
    return descriptors if "--spec-fd" in descriptors else None


def _answer(owner: ownership.Owner) -> int:
    print(json.dumps(owner.as_answer()))  # noqa: T201 - the answer
    return 0 if owner.alive else 1


def _supervise(source: int, readiness: Readiness, foreground: bool) -> int:
    try:
        with os.fdopen(source, "rb", closefd=source > 2) as pipe:
            spec = Spec.from_json(pipe.read())
    except SpecError as error:
        return _refuse(readiness, EX_USAGE, str(error))
    except OSError as error:
        return _refuse(readiness, EX_USAGE, f"spec: cannot be read: {error}")
    os.umask(UMASK)
    started_with = dict(os.environ)  # what the child gets; from here on /proc shows no secret of it
    environment.overwrite_secrets(spec.secret_names)
    no_core_files()
    if not foreground:
        detach("/", readiness.descriptors())
    try:
        return _hold(spec, readiness, started_with)
    except Held as held:
        return _refuse(readiness, EX_CANTCREAT, str(held), pid=held.pid)
    except OSError as error:
        return _refuse(readiness, EX_IOERR, str(error))
    except Exception as error:  # a bug: no terminal shows its traceback, so the starter is told
        _refuse(readiness, EX_SOFTWARE, f"{type(error).__name__}: {error}")
        raise


def _refuse(readiness: Readiness, code: int, reason: str, **fields: Any) -> int:
    print(f"supervisor: {reason}", file=sys.stderr)  # noqa: T201 - the reason why the start failed
    readiness.final(False, exit_code=code, reason=reason, last_lines=[], **fields)
    return code


def no_core_files() -> None:
    """Forbid core files, which would hold the child's environment, to this process and to all below it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _hold(spec: Spec, readiness: Readiness, started_with: dict[str, str]) -> int:
    """Take the instance and supervise until the end. Return the exit code. Raises Held, OSError."""
    from .posix.wakeup import WakeupPipe

    wakeup = WakeupPipe(SIGNALS)  # first: a signal that arrives now must not leave a PID file behind
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    kernel.load()
    for path in (spec.pid_file, spec.log_file, spec.state_file, spec.info_file or spec.state_file):
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = processes.identify(os.getpid(), processes.table(spec.portable))
    if identity is None:
        raise OSError("this process cannot be found in the process table")
    owned = Ownership.acquire(spec.pid_file, spec.state_file)
    try:
        return _own(spec, identity, owned, readiness, wakeup, started_with)
    finally:
        owned.release()


def _own(
    spec: Spec,
    identity: Identity,
    owned: Ownership,
    readiness: Readiness,
    wakeup: WakeupPipe,
    started_with: dict[str, str],
) -> int:
    """Write who owns the instance, and supervise until the end. `started_with` is the environment for the child."""
    from .arbiter import Arbiter
    from .instance import Instance
    from .logfile import Log
    from .posix.control import ControlSocket
    from .posix.pidfile import PidFile
    from .state import StateFile

    log = Log(
        spec.log_file,
        max_size=spec.max_size,
        max_backups=spec.max_backups,
        compress=spec.compress,
        total_cap=spec.total_cap,
    )
    control = ControlSocket(f"{spec.state_file}.run", lambda: state.to_dict())
    try:
        record = {
            "pid": identity.pid,
            **spec.pid_fields,
            "log_file": spec.log_file,
            "pid_file": spec.pid_file,
            "started_at": utc(),
            "control": control.address,
            "identity": identity.to_dict(),
        }
        state = StateFile(spec.state_file, spec.name, identity, {"file": spec.log_file}, record, time.time())
        owned.declare(record)
        pid_file = PidFile(spec.pid_file, record)
        try:
            instance = Instance(spec, log, state, owned, pid_file, control)
            return Arbiter(instance, wakeup=wakeup, readiness=readiness, environment=started_with).run()
        finally:
            pid_file.remove()
    finally:
        control.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
