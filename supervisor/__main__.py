"""python -m supervisor: see `supervisor.spec` for the contract.

python -m supervisor --spec-fd N [--ready-fd M] [--foreground]
python -m supervisor check PIDFILE             whether its supervisor runs: JSON, and exit code 0 or 1
python -m supervisor signal PIDFILE TERM       the signal, to that very process or to nobody: the same answer
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from supervisor import kernel, pidfile, processes
from supervisor.daemon import UMASK, Readiness, detach, ensure_streams
from supervisor.lines import utc
from supervisor.pidfile import Held, PidFile
from supervisor.spec import Spec, SpecError

EX_USAGE: Final = 64
EX_SOFTWARE: Final = 70
EX_CANTCREAT: Final = 73
EX_IOERR: Final = 74


def main(argv: Sequence[str]) -> int:
    if len(argv) == 2 and argv[0] == "check":
        return _answer(pidfile.check(argv[1]))
    if len(argv) == 3 and argv[0] == "signal":
        number = getattr(signal, f"SIG{argv[2].upper().removeprefix('SIG')}", None)
        if isinstance(number, signal.Signals):
            return _answer(pidfile.signal_owner(argv[1], number))
    options = _options(argv)
    if options is None:
        print(__doc__, file=sys.stderr)  # noqa: T201 - a person has called this
        return EX_USAGE
    ensure_streams()
    return _supervise(options["--spec-fd"], Readiness(options.get("--ready-fd")), "--foreground" in options)


def _options(argv: Sequence[str]) -> dict[str, int] | None:
    found: dict[str, int] = {}
    rest = list(argv)
    while rest:
        name = rest.pop(0)
        if name == "--foreground":
            found[name] = 1
        elif name in ("--spec-fd", "--ready-fd") and rest and rest[0].isdecimal():
            found[name] = int(rest.pop(0))
        else:
            return None
    return found if "--spec-fd" in found else None


def _answer(answer: dict[str, Any]) -> int:
    print(json.dumps(answer))  # noqa: T201 - the answer
    return 0 if answer["alive"] else 1


def _supervise(source: int, readiness: Readiness, foreground: bool) -> int:
    try:
        with os.fdopen(source, "rb", closefd=source > 2) as pipe:
            spec = Spec.from_json(pipe.read())
    except SpecError as error:
        return _refuse(readiness, EX_USAGE, str(error))
    except OSError as error:
        return _refuse(readiness, EX_USAGE, f"spec: cannot be read: {error}")
    os.umask(UMASK)
    if not foreground:
        detach("/", readiness.descriptors())
    try:
        return _hold(spec, readiness)
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


def _hold(spec: Spec, readiness: Readiness) -> int:
    """Take the PID file and supervise until the end. Return the exit code. Raises Held, OSError."""
    from supervisor.arbiter import Arbiter
    from supervisor.logfile import Log
    from supervisor.state import State
    from supervisor.wakeup import Wakeup

    wakeup = Wakeup()  # first: a signal that arrives now must not leave a PID file behind
    kernel.load()
    for path in (spec.pid_file, spec.log_file, spec.state_file, spec.info_file or spec.state_file):
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = processes.identify(os.getpid(), processes.table(spec.portable))
    if identity is None:
        raise OSError("this process cannot be found in the process table")
    owned = PidFile.acquire(spec.pid_file)
    try:
        log = Log(
            spec.log_file,
            max_size=spec.max_size,
            max_backups=spec.max_backups,
            compress=spec.compress,
            total_cap=spec.total_cap,
        )
        owned.write(identity, spec.pid_fields, spec.log_file, utc())
        state = State(spec.state_file, spec.name, identity, {"file": spec.log_file}, time.time())
        arbiter = Arbiter(
            spec,
            log=log,
            state=state,
            wakeup=wakeup,
            readiness=readiness,
            lock=owned.descriptor,
            environment=dict(os.environ),
        )
        return arbiter.run()
    finally:
        owned.remove()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
