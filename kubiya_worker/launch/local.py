"""Start a worker on this host, in the foreground: this process becomes the worker."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from kubiya_worker.errors import ConfigurationError, TemporaryFailure
from kubiya_worker.launch import init, venv
from kubiya_worker.launch.home import Home
from kubiya_worker.payloads.options import PayloadOptions
from kubiya_worker.settings import Settings, origins
from kubiya_worker.settings.file import text_of
from kubiya_worker.settings.table import OPTIONS, Option

SCRIPT: Final = '''"""What `ps` shows of this queue's worker. Written by `kubiya worker start`; changes are lost."""

from kubiya_worker.process.main import main

if __name__ == "__main__":
    main()
'''


def check_server_installed() -> None:
    """Raise ConfigurationError when the packages of the extra `server` are missing."""
    if any(importlib.util.find_spec(name) is None for name in ("uvicorn", "starlette", "sqlalchemy", "alembic")):
        raise ConfigurationError(
            "The local control plane is not installed", remedy="pip install 'kubiya-worker[server]'"
        )


def worker_argv(queue_id: str, home: Home | None = None, python: Path | None = None) -> list[str]:
    """Return the worker's command line, which never holds a secret.

    With a home the script there is run, else the one in the package. `-P` keeps the script's folder from shadowing
    modules.
    """
    script = home.script if home else Path(_package()).with_name("process") / "worker.py"
    return [str(python or sys.executable), "-P", str(script), "--queue-id", queue_id]


def _package() -> str:
    spec = importlib.util.find_spec("kubiya_worker")
    assert spec is not None and spec.origin is not None
    return spec.origin


def worker_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment from which the worker reads the same settings, wherever it is started."""
    variables = dict(environ)
    for option in OPTIONS:
        for name in option.env:
            variables.pop(name, None)
            if option.secret:
                variables.pop(f"{name}_FILE", None)  # the file was read already, and may be gone at the next start
        value = getattr(settings, option.name, None)
        if option.env and value is not None:
            variables[option.env[0]] = _variable_value(option, value)
    return variables


def _variable_value(option: Option, value: Any) -> str:
    """Return a value as the text of a variable; paths are absolute, so that it is right in any folder."""
    return option.parse.absolute(value) if option.parse.absolute else text_of(value)


def payload_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables about payloads, the same for worker and control plane. Raises ConfigurationError."""
    from kubiya_worker.payloads.converter import Payloads  # no start of a worker needs it

    variables: dict[str, str] = {}
    for origin in origins({}, environ):
        option, value = origin.option, origin.value
        if option.name.startswith("payload_") and value is not None:
            variables[option.env[0]] = _variable_value(option, value)
    Payloads.open(PayloadOptions.of_environment(variables))
    return variables


def keep_files(environment: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Replace secrets that came from a file by the file's path, so that they are in no environment.

    Only for a worker that starts at once: the file may be gone later.
    """
    variables = dict(environment)
    for option in OPTIONS:
        for name in option.env if option.secret else ():
            if environ.get(name, "").strip():
                break  # the variable itself counts
            if environ.get(f"{name}_FILE", "").strip():
                variables.pop(option.env[0], None)
                variables[f"{name}_FILE"] = str(Path(environ[f"{name}_FILE"].strip()).expanduser().absolute())
                break
    return variables


def prepare(home: Home, settings: Settings, say: venv.Say, *, in_use: bool = False) -> list[str]:
    """Prepare folder, venv and script. Return the worker's command line. Raises WorkerError with a remedy."""
    home.make()
    python = venv.ensure(home, settings, say, in_use=lambda: in_use)
    home.write(home.script, SCRIPT)
    return worker_argv(settings.queue_id, home, python)


def exec_worker(settings: Settings, home: Home | None, say: venv.Say) -> NoReturn:
    """Replace this process by the worker, so that signals and exit code pass directly. PID 1 stays: see `init`."""
    argv = worker_argv(settings.queue_id)
    if home is not None and not _is_image(settings, home):
        try:
            argv = prepare(home, settings, say)
        except (ConfigurationError, TemporaryFailure) as error:
            if wants_other_installation(settings):
                raise
            say(f"{error.message}; running without a venv of its own")
    environment = keep_files(worker_environment(settings, os.environ), os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.getpid() == 1:
        sys.exit(init.run(argv, environment))
    os.execve(argv[0], argv, environment)  # noqa: S606 - our own program, no shell


def _is_image(settings: Settings, home: Home) -> bool:
    """Return whether this is PID 1 of a container whose image is the environment to run in."""
    return os.getpid() == 1 and not wants_other_installation(settings) and not home.requirements.exists()


def wants_other_installation(settings: Settings) -> bool:
    """Return whether the settings ask for another installation than the running one."""
    return any((settings.python_path, settings.package_version, settings.local_wheel, settings.package_source))
