"""The worker program reads its settings, runs, and exits with a code; `ps` shows it as `worker.py` beside this file."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from kubiya_worker.process.exit import exit_process
from kubiya_worker.process.left_out import left_out

if TYPE_CHECKING:
    from kubiya_worker.payloads.converter import Payloads
    from kubiya_worker.process.dataclass_code import DataclassCode
    from kubiya_worker.process.redaction import ProcessRedactor
    from kubiya_worker.process.sealed_variables import SealedVariables
    from kubiya_worker.settings import Settings
    from kubiya_worker.trust import CaCheck

BEGAN = time.monotonic()
CUT_WITHIN = 2.0  # seconds that cancelled tasks have to end, after everything else is over


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a worker until it is stopped, and end the process with its exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, _too_early)
    exit_process(run(sys.argv[1:] if argv is None else argv))


def _too_early(number: int, _: FrameType | None) -> None:
    """End on a signal that comes before there is anything to undo; `stop.Stop` replaces this handler."""
    os.write(2, f"kubiya worker: {signal.Signals(number).name} before it was registered; stopped\n".encode())
    os._exit(0)


def run(argv: Sequence[str]) -> int:
    from kubiya_worker import garbage
    from kubiya_worker.process.dataclass_code import DataclassCode, file_of

    code = DataclassCode(file_of("start"))
    with garbage.paused(keep=True), code.in_use():
        import_structlog()
        from kubiya_worker.errors import EX_SOFTWARE, WorkerError
        from kubiya_worker.payloads.converter import Payloads
        from kubiya_worker.process.redaction import ProcessRedactor, secrets_in
        from kubiya_worker.process.sealed_variables import seal_process
        from kubiya_worker.proxies import spare_loopback
        from kubiya_worker.settings import resolve
        from kubiya_worker.trust import CaCheck

    debug = os.environ.get("KUBIYA_DEBUG", "").lower() in ("1", "true", "yes", "on")
    redact = ProcessRedactor(secrets_in(os.environ))
    try:
        settings = resolve(_flags(argv), os.environ)
        redact.add(settings.secrets)
        variables = seal_process(settings.extension_variables.split(","))  # the settings have those of their own
        trusted = CaCheck(settings.ca_file, os.environ)
        spare_loopback(os.environ)
        payloads = Payloads.open(settings.payloads, variables)
        redact.add(payloads.secrets)
        return _work(settings, payloads, redact, variables, trusted, code)
    except WorkerError as error:
        _say(error.line(), redact, debug)
        return error.exit_code
    except Exception as error:  # this is a bug: write one line, and the traceback in debug mode
        _say(f"{type(error).__name__}: {error}. Set KUBIYA_DEBUG=true for the traceback and report it", redact, debug)
        return EX_SOFTWARE


def import_structlog() -> None:
    """Import structlog without rich, which it takes where it is installed: 5 MiB, for tracebacks that nobody prints."""
    with left_out("rich"):
        import structlog.dev  # noqa: F401


def _flags(argv: Sequence[str]) -> dict[str, str]:
    """Return the settings of the command line; raise UsageError (64) for an unknown flag."""
    import argparse

    from kubiya_worker.errors import UsageError

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UsageError(message, remedy="worker.py takes --queue-id Q; the rest comes from the environment")

    parser = Parser(prog="worker.py", description="Kubiya worker process", allow_abbrev=False)
    parser.add_argument("--queue-id", dest="queue_id")
    return {k: v for k, v in vars(parser.parse_args(argv)).items() if v is not None}


def _work(
    settings: Settings,
    payloads: Payloads,
    redact: ProcessRedactor,
    variables: SealedVariables,
    trusted: CaCheck,
    code: DataclassCode,
) -> int:
    import resource

    from kubiya_worker import extension_loading, garbage

    # Temporal's sandbox imports pydantic, 20 ms, and only the workflows of extensions run there.
    sandbox = contextlib.nullcontext() if extension_loading.are_there(settings.extensions) else left_out("pydantic")
    with garbage.paused(keep=True), sandbox, code.in_use():
        from kubiya_worker._supervisor.posix import kernel
        from kubiya_worker.control_plane.client import ControlPlane
        from kubiya_worker.process import host, lifecycle, logging, queue_settings
        from kubiya_worker.process.worker_setup import WorkerSetup
        from kubiya_worker.tools.confinement import support
    code.keep()
    host.limit_arenas()
    if not settings.debug:  # a core file would hold the key, and a soft limit can be raised from outside
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not settings.debug:
        kernel.forbid_dumps()
    support.use(settings.confinement, (settings.workspace_root, settings.spool_root, settings.long_commands_root))
    support.is_active()  # raises before the control plane knows this worker
    # Read it before the registration, so that a wrong file is reported before the control plane knows this worker.
    if settings.policy_file:
        from kubiya_worker.tools.policy import rules_file

        rules_file.read(settings.policy_file)
    redact.add(route.key for route in queue_settings.own_routes(settings, variables).values())
    recent = logging.configure("DEBUG" if settings.debug else settings.log_level, settings.log_format, redact)
    trusted.finish()
    control_plane = ControlPlane(settings.control_plane_url, settings.api_key)
    setup = WorkerSetup(settings, control_plane, payloads, redact, recent, variables, BEGAN)
    return _until_over(lifecycle.run(setup))


def _until_over(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` and return its result.

    Unlike asyncio.run, wait for no thread, since a hanging call must not hold the exit.
    """
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=CUT_WITHIN))


def _say(line: str, redact: Callable[[str], str], debug: bool) -> None:
    trace = traceback.format_exc() if debug else ""
    try:
        print(redact(f"{trace}kubiya worker: {line}"), file=sys.stderr, flush=True)  # noqa: T201 - the last word, as it is
    except OSError:
        pass  # the reader is gone; the exit code still tells the result
