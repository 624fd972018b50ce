"""This module makes the runtime of a worker's steps from its settings: models, tools, policy, files.

Importing it loads most of the worker's code, so the start leaves it out (`late_steps.py`).
"""

from __future__ import annotations

import structlog
from temporalio.client import Client

from kubiya_worker.activities import Runtime
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.models import Models
from kubiya_worker.models.prices import Prices
from kubiya_worker.models.routes import Routing
from kubiya_worker.process.model_endpoints import endpoint_of, endpoints_of
from kubiya_worker.process.places import long_commands_of
from kubiya_worker.process.worker_pair import model_queue
from kubiya_worker.process.worker_setup import WorkerSetup
from kubiya_worker.recording import RecordingFile
from kubiya_worker.settings import Settings
from kubiya_worker.tools.policy import enforcer, rules_file
from kubiya_worker.tools.workspace_files import CopyLimits

log = structlog.get_logger()


def enforcer_of(settings: Settings) -> enforcer.Enforcer | None:
    """Return the external policy service, or None when no service is configured."""
    if not settings.enforce_enabled:
        if settings.enforcer_url:
            log.warning("policy.enforcer_off", url=settings.enforcer_url, remedy="Set KUBIYA_ENFORCE_ENABLED=true")
        return None
    url = settings.policy_service_url
    key = enforcer.key_for(url, settings.enforcer_api_key, settings.control_plane_url, settings.api_key)
    log.info("policy.enforcer", url=url, timeout=f"{settings.enforcer_timeout:g}s", key=bool(key))
    return enforcer.Enforcer(url, key, settings.enforcer_timeout)


def file_limits_of(settings: Settings) -> CopyLimits:
    """Return the limits of what is copied of a run's workspace."""
    patterns = tuple(pattern.strip() for pattern in (settings.run_files_patterns or "").split(",") if pattern.strip())
    return CopyLimits(
        enabled=settings.run_files,
        count=settings.run_files_max_count,
        size=settings.run_files_max_size,
        total=settings.run_files_max_total,
        patterns=patterns,
    )


def make_runtime(
    setup: WorkerSetup, client: Client, registration: Registration, spool: Spool, routing: Routing | None
) -> Runtime:
    """Make the runtime. Raises ConfigurationError for a file of the settings that is wrong.

    `routing` names the endpoints of single models, if there are any.
    """
    settings, variables = setup.settings, setup.variables
    if (settings.proxy_config_file or settings.proxy_config_json) and not settings.enable_local_proxy:
        log.warning("models.proxy_off", remedy="Add --enable-local-proxy, or leave its configuration out")
    recording = RecordingFile(settings.recording) if settings.recording else None
    if recording:
        recording.now()
        log.warning("recording.plays", file=settings.recording, remedy="Such a worker is for kubiya test only")
    return Runtime(
        control_plane=setup.control_plane,
        temporal=client,
        models=Models(
            endpoint_of(settings, registration),
            variables,
            prices=Prices.load(settings.model_prices_file),
            routing=routing,
            endpoints=endpoints_of(settings, variables),
            recording=recording,
        ),
        workspace_root=settings.workspace_root,
        worker_id=registration.worker_id,
        hostname=settings.worker_hostname,
        rules=rules_file.read(settings.policy_file),
        enforcer=enforcer_of(settings),
        longest_call=settings.activity_timeout,
        secrets=setup.redact.secrets,
        spool=spool,
        mcp_max_sessions=settings.mcp_max_sessions,
        recording=recording,
        file_limits=file_limits_of(settings),
        long_commands=long_commands_of(settings, registration),
        task_queue=registration.task_queue_name,
        model_queue=model_queue(registration.task_queue_name) if settings.model_slots else "",
    )
