"""The resolved settings of a worker: plain values, secrets hidden from repr."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path

from kubiya_worker.payloads.converter import STORED_FROM, Options
from kubiya_worker.protocol.names import DEFAULT_CONTROL_PLANE_URL


@dataclass(frozen=True)
class Settings:
    """The settings of a worker. Times are in seconds, sizes in bytes.

    The fields are named as in `settings.table.OPTIONS`.
    """

    queue_id: str
    api_key: str = field(repr=False)
    control_plane_url: str = DEFAULT_CONTROL_PLANE_URL
    environment_name: str = "default"
    worker_hostname: str = field(default_factory=socket.gethostname)
    worker_id: str | None = None
    heartbeat_interval: float = 30.0
    log_level: str = "INFO"
    log_format: str = "text"
    debug: bool = False
    max_concurrent_activities: int = 10
    grace_period: float = 30.0
    single_execution: bool = False
    ca_file: str | None = None
    temporal_host: str | None = None
    temporal_namespace: str | None = None
    task_queue: str | None = None
    deployment_name: str | None = None
    build_id: str | None = None
    versioning_behavior: str = "pinned"
    temporal_tls: bool | None = None
    temporal_tls_cert: str | None = None
    temporal_tls_key: str | None = None
    temporal_tls_ca: str | None = None
    payload_keys_file: str | None = None
    payload_compression: str = "none"
    payload_storage: str | None = None
    payload_storage_from: int = STORED_FROM
    alive_file: str = "/tmp/worker-alive"  # noqa: S108 - named by the guide, probes `cat` it
    ready_file: str = "/tmp/worker-ready"  # noqa: S108 - the same
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    status_file: str | None = None
    supervisor_state: str | None = None
    readiness_socket: str | None = None
    api_log_file: str | None = None
    workspace: str | None = None
    spool: str | None = None
    spool_max_bytes: int = 67_108_864
    extensions: str = ""
    model_override: str | None = None
    skip_model_validation: bool = False
    default_model: str | None = None
    litellm_api_base: str | None = None
    litellm_api_key: str | None = field(default=None, repr=False)
    enable_local_proxy: bool = False
    proxy_config_file: str | None = None
    proxy_config_json: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)
    model_compatibility: str | None = None
    model_idle_timeout: float = 120.0
    enforce_enabled: bool = False
    enforcer_url: str | None = None
    enforcer_api_key: str | None = field(default=None, repr=False)
    enforcer_timeout: float = 2.0
    policy_file: str | None = None
    deployment_type: str = "local"
    daemon_mode: bool = False
    max_log_size: int = 104_857_600
    max_log_backups: int = 5
    model_prices: str | None = None
    activity_timeout: float | None = None
    mcp_max_sessions: int = 64
    python_path: str | None = None
    package_version: str | None = None
    local_wheel: str | None = None
    package_source: str | None = None
    no_cache: bool = False
    no_update: bool = False
    image: str = "ghcr.io/kubiyabot/agent-worker"
    image_tag: str = "latest"
    pull: bool = True
    memory: int | None = None
    cpus: float | None = None

    @property
    def workspace_root(self) -> Path:
        return Path(self.workspace) if self.workspace else Path.cwd() / ".kubiya" / "workspaces"

    @property
    def spool_root(self) -> Path:
        return Path(self.spool).expanduser() if self.spool else Path.cwd() / ".kubiya" / "spool"

    def places(self, *, here: bool) -> dict[str, Path]:
        """Return the folders that the worker writes to, by the variable that names each.

        With `here` it will run in the current folder, so that the defaults of variables that are not set count too.
        """
        found = {"KUBIYA_ALIVE_FILE": Path(self.alive_file).parent, "KUBIYA_READY_FILE": Path(self.ready_file).parent}
        if here or self.workspace:
            found["KUBIYA_WORKSPACE"] = self.workspace_root
        if (here or self.spool) and self.spool_max_bytes:
            found["KUBIYA_SPOOL"] = self.spool_root
        return found

    @property
    def model_prices_file(self) -> Path | None:
        return Path(self.model_prices).expanduser() if self.model_prices else None

    @property
    def image_reference(self) -> str:
        return f"{self.image}:{self.image_tag}"

    @property
    def payloads(self) -> Options:
        return Options.of(
            self.payload_keys_file, self.payload_compression, self.payload_storage, self.payload_storage_from
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the values that must not leave the process."""
        keys = (self.api_key, self.litellm_api_key, self.openai_api_key, self.enforcer_api_key)
        return tuple(key for key in keys if key)
