"""This module builds the Temporal worker from its parts: workflows, activities, models, tools, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import structlog
from temporalio.client import Client
from temporalio.worker import Interceptor, Worker

from kubiya_worker import activities, extensions
from kubiya_worker.activities.scrub import Scrub
from kubiya_worker.control_plane.client import ControlPlane, Registration
from kubiya_worker.control_plane.spool import Spool, lane_of
from kubiya_worker.models import Endpoint, Models, compatibility
from kubiya_worker.models import routes as litellm
from kubiya_worker.models.compatibility import Endpoints
from kubiya_worker.models.prices import Prices
from kubiya_worker.models.routes import Route
from kubiya_worker.process import deployment
from kubiya_worker.process.sandbox import Sandbox
from kubiya_worker.protocol import names
from kubiya_worker.settings import Settings
from kubiya_worker.tools import enforcer, rules
from kubiya_worker.workflows import registry

log = structlog.get_logger()

# The library demands a limit, but a drain has none. We cut off steps ourselves when a stop's grace period ends
# (cut.py).
UNLIMITED: Final = timedelta(days=365)
# The longest delay before a cancellation reaches a step, or a dead worker is noticed.
HEARTBEAT_THROTTLE: Final = timedelta(seconds=2)
STICKY_TIMEOUT: Final = timedelta(seconds=5)  # how long a task waits for the worker that has the execution in memory
CACHED_WORKFLOWS: Final = 200  # an instance takes about 100 kB; one that is not cached replays


def endpoint_of(settings: Settings, registration: Registration) -> Endpoint:
    """Return the endpoint of the models; the worker's own environment comes before what the control plane sent."""
    if settings.litellm_api_base:
        base, key, gateway = settings.litellm_api_base, settings.litellm_api_key or "", True
    elif settings.openai_api_key or settings.openai_base_url:
        base = settings.openai_base_url or "https://api.openai.com/v1"
        key, gateway = settings.openai_api_key or "", False
    else:
        base, key, gateway = registration.litellm_api_url, registration.litellm_api_key, True
    return Endpoint(
        base_url=base,
        api_key=key,
        default_model=settings.default_model,
        override=settings.model_override,
        idle_timeout=settings.model_idle_timeout,
        gateway=gateway,
    )


def routes_of(settings: Settings) -> dict[str, Route]:
    """Return the routes that a local LLM proxy would serve, or nothing when it is off.

    Raise ConfigurationError when its configuration is wrong.
    """
    if not settings.enable_local_proxy:
        return {}
    return litellm.read(settings.proxy_config_file, settings.proxy_config_json, os.environ)


def endpoints_of(settings: Settings) -> Endpoints:
    """Return the compatibility settings of the worker's endpoints. Raises ConfigurationError."""
    return compatibility.load(settings.model_compatibility, os.environ)


def enforcer_url(settings: Settings) -> str:
    return settings.enforcer_url or f"{settings.control_plane_url}/api/v1/enforcer"


def enforcer_of(settings: Settings) -> enforcer.Enforcer | None:
    """Return the external policy service, or None when no service is configured."""
    if not settings.enforce_enabled:
        if settings.enforcer_url:
            log.warning("policy.enforcer_off", url=settings.enforcer_url, remedy="Set KUBIYA_ENFORCE_ENABLED=true")
        return None
    url = enforcer_url(settings)
    key = enforcer.key_for(url, settings.enforcer_api_key, settings.control_plane_url, settings.api_key)
    log.info("policy.enforcer", url=url, timeout=f"{settings.enforcer_timeout:g}s", key=bool(key))
    return enforcer.Enforcer(url, key, settings.enforcer_timeout)


def spool_of(settings: Settings, registration: Registration) -> Spool:
    """Return the store for events while the control plane cannot be reached; each queue has its own, as it has
    its own keys.
    """
    lane = lane_of(settings.control_plane_url, registration.queue_id or registration.task_queue_name)
    return Spool(settings.spool_root / lane, settings.spool_max_bytes)


def build_worker(
    settings: Settings,
    client: Client,
    registration: Registration,
    control_plane: ControlPlane,
    spool: Spool,
    secrets: Sequence[str],
    interceptors: Sequence[Interceptor],
    routes: Mapping[str, Route],
) -> tuple[Worker, activities.Runtime]:
    """Build the Temporal worker.

    `secrets` are values that must not leave the process. `routes` name the models' endpoints when there is more than
    one.
    """
    if (settings.proxy_config_file or settings.proxy_config_json) and not settings.enable_local_proxy:
        log.warning("models.proxy_off", remedy="Add --enable-local-proxy, or leave its configuration out")
    runtime = activities.Runtime(
        control_plane=control_plane,
        temporal=client,
        models=Models(
            endpoint_of(settings, registration),
            prices=Prices.load(settings.model_prices_file),
            routes=routes,
            endpoints=endpoints_of(settings),
        ),
        workspace_root=settings.workspace_root,
        worker_id=registration.worker_id,
        hostname=settings.worker_hostname,
        rules=rules.read(settings.policy_file),
        enforcer=enforcer_of(settings),
        longest_call=settings.activity_timeout,
        secrets=secrets,
        spool=spool,
        mcp_max_sessions=settings.mcp_max_sessions,
    )
    own = activities.build(runtime)
    found = extensions.load(settings.extensions, names.OURS)
    for fault in found.faults:
        log.error("extension.refused", fault=fault)
    if found.modules:
        log.info("extension.loaded", modules=", ".join(found.modules))

    def make(custom: list[type]) -> Worker:
        return Worker(
            client,
            task_queue=registration.task_queue_name,
            workflows=[*registry.WORKFLOWS, *custom],
            activities=[*own, *found.activities],
            activity_executor=ThreadPoolExecutor(settings.max_concurrent_activities, "custom-activity"),
            workflow_runner=Sandbox(),
            interceptors=[Scrub(runtime), *interceptors],
            max_concurrent_activities=settings.max_concurrent_activities,
            max_cached_workflows=CACHED_WORKFLOWS,
            graceful_shutdown_timeout=UNLIMITED,
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
            default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            **deployment.options(settings),
        )

    try:
        return make(found.workflows), runtime
    except (RuntimeError, ValueError) as error:
        if not found.workflows:
            raise
        log.error("extension.refused", fault=f"custom workflows cannot be registered: {error}")
        return make([]), runtime
