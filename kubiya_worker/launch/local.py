"""Bringing a worker up on this host, in the foreground: this process becomes the worker."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.launch import init
from kubiya_worker.settings import Settings


def check_server_installed() -> None:
    """ConfigurationError when the packages of the extra `server` are not there."""
    if any(importlib.util.find_spec(name) is None for name in ("uvicorn", "starlette", "sqlalchemy", "alembic")):
        raise ConfigurationError(
            "The local control plane is not installed", remedy="pip install 'kubiya-worker[server]'"
        )


def worker_argv(queue_id: str) -> list[str]:
    """The worker's command line. `-P`: the script's folder must not shadow modules. No secret is ever in it."""
    spec = importlib.util.find_spec("kubiya_worker")
    assert spec is not None and spec.origin is not None
    script = Path(spec.origin).with_name("process") / "worker.py"
    return [sys.executable, "-P", str(script), "--queue-id", queue_id]


def worker_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the worker resolves to the same settings."""
    given = {
        "QUEUE_ID": settings.queue_id,
        "KUBIYA_API_KEY": settings.api_key,
        "CONTROL_PLANE_GATEWAY_URL": settings.control_plane_url,
        "HEARTBEAT_INTERVAL": f"{settings.heartbeat_interval:g}",
        "KUBIYA_CLI_LOG_LEVEL": settings.log_level,
        "MAX_CONCURRENT_ACTIVITIES": str(settings.max_concurrent_activities),
        "KUBIYA_GRACE_PERIOD": f"{settings.grace_period:g}",
        "KUBIYA_MODEL_OVERRIDE": settings.model_override or "",
        "KUBIYA_METRICS_PORT": "" if settings.metrics_port is None else str(settings.metrics_port),
    }
    return {**environ, **given}


def exec_worker(settings: Settings) -> NoReturn:
    """Replaces this process, so that signals, exit code and process table need no go-between. PID 1 stays: see init."""
    argv, environment = worker_argv(settings.queue_id), worker_environment(settings, os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.getpid() == 1:
        sys.exit(init.run(argv, environment))
    os.execve(argv[0], argv, environment)  # noqa: S606 - our own program, no shell
