"""The worker program: settings in, exit code out. `worker.py` beside this file is what `ps` shows."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from typing import NoReturn

BEGAN = time.monotonic()


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs a worker until it is stopped, and leaves the process with its exit code.

    It ends by `os._exit`: an interpreter that ran a Temporal worker sometimes dies of SIGABRT or SIGSEGV in its own
    exit (sdk-python#300), which would turn a clean stop into a crash.
    """
    code = run(sys.argv[1:] if argv is None else argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(argv: Sequence[str]) -> int:
    from kubiya_worker.errors import EX_SOFTWARE, WorkerError
    from kubiya_worker.settings import resolve

    debug = os.environ.get("KUBIYA_DEBUG", "").lower() in ("1", "true", "yes", "on")
    try:
        settings = resolve(_flags(argv), os.environ)
        return _work(settings)
    except WorkerError as error:
        _say(error.line(), debug)
        return error.exit_code
    except Exception as error:  # a bug: one line, and the traceback for whoever wants it
        _say(f"{type(error).__name__}: {error}. Set KUBIYA_DEBUG=true for the traceback and report it", debug)
        return EX_SOFTWARE


def _flags(argv: Sequence[str]) -> dict[str, str]:
    import argparse

    parser = argparse.ArgumentParser(prog="worker.py", description="Kubiya worker process")
    parser.add_argument("--queue-id", dest="queue_id")
    return {k: v for k, v in vars(parser.parse_args(argv)).items() if v is not None}


def _work(settings: object) -> int:
    import asyncio

    from kubiya_worker.control_plane.client import ControlPlane
    from kubiya_worker.process import lifecycle, logging
    from kubiya_worker.settings import Settings

    assert isinstance(settings, Settings)
    logging.configure("DEBUG" if settings.debug else settings.log_level, settings.log_format, settings.secrets)
    control_plane = ControlPlane(settings.control_plane_url, settings.api_key)
    return asyncio.run(lifecycle.run(settings, control_plane, BEGAN))


def _say(line: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"kubiya worker: {line}", file=sys.stderr, flush=True)  # noqa: T201 - the last word goes to stderr as it is
