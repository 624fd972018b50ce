"""The resolved settings of a worker: plain values, secrets hidden from repr."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from kubiya_worker.payloads.options import PayloadOptions
from kubiya_worker.settings.table import BY_NAME


def _of_table(name: str) -> Any:
    """Return the dataclass field of an option: its default, and whether its value may be shown."""
    option = BY_NAME[name]
    return field(default=option.default, repr=not option.secret)


@dataclass(frozen=True)
class Settings:
    """The settings of a worker. Times are in seconds, sizes in bytes.

    The fields are named as in `settings.table.OPTIONS`, which also has their defaults.
    """

    queue_id: str
    api_key: str = field(repr=False)
    control_plane_url: str = _of_table("control_plane_url")
    environment_name: str = _of_table("environment_name")
    worker_hostname: str = field(default_factory=socket.gethostname)
    worker_id: str | None = _of_table("worker_id")
    heartbeat_interval: float = _of_table("heartbeat_interval")
    log_level: str = _of_table("log_level")
    log_format: str = _of_table("log_format")
    debug: bool = _of_table("debug")
    max_concurrent_activities: int = _of_table("max_concurrent_activities")
    model_slots: int = _of_table("model_slots")
    grace_period: float = _of_table("grace_period")
    single_execution: bool = _of_table("single_execution")
    ca_file: str | None = _of_table("ca_file")
    temporal_host: str | None = _of_table("temporal_host")
    temporal_namespace: str | None = _of_table("temporal_namespace")
    task_queue: str | None = _of_table("task_queue")
    deployment_name: str | None = _of_table("deployment_name")
    build_id: str | None = _of_table("build_id")
    versioning_behavior: str = _of_table("versioning_behavior")
    temporal_tls: bool | None = _of_table("temporal_tls")
    temporal_tls_cert: str | None = _of_table("temporal_tls_cert")
    temporal_tls_key: str | None = _of_table("temporal_tls_key")
    temporal_tls_ca: str | None = _of_table("temporal_tls_ca")
    temporal_tls_server_name: str | None = _of_table("temporal_tls_server_name")
    payload_keys_file: str | None = _of_table("payload_keys_file")
    payload_compression: str = _of_table("payload_compression")
    payload_storage: str | None = _of_table("payload_storage")
    payload_storage_from: int = _of_table("payload_storage_from")
    alive_file: str = _of_table("alive_file")
    ready_file: str = _of_table("ready_file")
    metrics_port: int | None = _of_table("metrics_port")
    metrics_host: str = _of_table("metrics_host")
    otlp_endpoint: str | None = _of_table("otlp_endpoint")
    otlp_headers: str | None = _of_table("otlp_headers")
    otlp_metrics: str = _of_table("otlp_metrics")
    trace_ratio: float = _of_table("trace_ratio")
    trace_models: bool = _of_table("trace_models")
    status_file: str | None = _of_table("status_file")
    supervisor_state: str | None = _of_table("supervisor_state")
    readiness_socket: str | None = _of_table("readiness_socket")
    api_log_file: str | None = _of_table("api_log_file")
    workspace: str | None = _of_table("workspace")
    long_commands: str | None = _of_table("long_commands")
    keep_long_commands: bool = _of_table("keep_long_commands")
    spool: str | None = _of_table("spool")
    spool_max_bytes: int = _of_table("spool_max_bytes")
    run_files: bool = _of_table("run_files")
    run_files_max_count: int = _of_table("run_files_max_count")
    run_files_max_size: int = _of_table("run_files_max_size")
    run_files_max_total: int = _of_table("run_files_max_total")
    run_files_patterns: str | None = _of_table("run_files_patterns")
    extensions: str = _of_table("extensions")
    extension_variables: str = _of_table("extension_variables")
    model_override: str | None = _of_table("model_override")
    skip_model_validation: bool = _of_table("skip_model_validation")
    default_model: str | None = _of_table("default_model")
    litellm_api_base: str | None = _of_table("litellm_api_base")
    litellm_api_key: str | None = _of_table("litellm_api_key")
    enable_local_proxy: bool = _of_table("enable_local_proxy")
    proxy_config_file: str | None = _of_table("proxy_config_file")
    proxy_config_json: str | None = _of_table("proxy_config_json")
    openai_base_url: str | None = _of_table("openai_base_url")
    openai_api_key: str | None = _of_table("openai_api_key")
    model_compatibility: str | None = _of_table("model_compatibility")
    model_idle_timeout: float = _of_table("model_idle_timeout")
    confinement: str = _of_table("confinement")
    enforce_enabled: bool = _of_table("enforce_enabled")
    enforcer_url: str | None = _of_table("enforcer_url")
    enforcer_api_key: str | None = _of_table("enforcer_api_key")
    enforcer_timeout: float = _of_table("enforcer_timeout")
    policy_file: str | None = _of_table("policy_file")
    recording: str | None = _of_table("recording")
    deployment_type: str = _of_table("deployment_type")
    daemon_mode: bool = _of_table("daemon_mode")
    max_log_size: int = _of_table("max_log_size")
    max_log_backups: int = _of_table("max_log_backups")
    model_prices: str | None = _of_table("model_prices")
    activity_timeout: float | None = _of_table("activity_timeout")
    mcp_max_sessions: int = _of_table("mcp_max_sessions")
    python_path: str | None = _of_table("python_path")
    package_version: str | None = _of_table("package_version")
    local_wheel: str | None = _of_table("local_wheel")
    package_source: str | None = _of_table("package_source")
    no_cache: bool = _of_table("no_cache")
    no_update: bool = _of_table("no_update")
    image: str = _of_table("image")
    image_tag: str = _of_table("image_tag")
    pull: bool = _of_table("pull")
    memory: int | None = _of_table("memory")
    cpus: float | None = _of_table("cpus")

    @property
    def workspace_root(self) -> Path:
        return Path(self.workspace) if self.workspace else Path.cwd() / ".kubiya" / "workspaces"

    @property
    def spool_root(self) -> Path:
        return Path(self.spool).expanduser() if self.spool else Path.cwd() / ".kubiya" / "spool"

    @property
    def long_commands_root(self) -> Path:
        if self.long_commands:
            return Path(self.long_commands).expanduser()
        return Path(self.workspace) / ".commands" if self.workspace else Path.cwd() / ".kubiya" / "commands"

    def written_folders(self, *, here: bool) -> dict[str, Path]:
        """Return the folders that the worker writes to, by the variable that names each.

        With `here` it will run in the current folder, so that the defaults of variables that are not set count too.
        """
        folders = {"KUBIYA_ALIVE_FILE": Path(self.alive_file).parent, "KUBIYA_READY_FILE": Path(self.ready_file).parent}
        if here or self.workspace:
            folders["KUBIYA_WORKSPACE"] = self.workspace_root
        if (here or self.spool) and self.spool_max_bytes:
            folders["KUBIYA_SPOOL"] = self.spool_root
        return folders

    @property
    def model_prices_file(self) -> Path | None:
        return Path(self.model_prices).expanduser() if self.model_prices else None

    @property
    def names_files_of_steps(self) -> bool:
        """Return whether a setting can be wrong of which only the code of the steps can tell."""
        return bool(self.recording or self.model_prices or self.model_compatibility or self.enforce_enabled)

    @property
    def policy_service_url(self) -> str:
        """Return the policy service's address: the control plane has one, where none is named."""
        return self.enforcer_url or f"{self.control_plane_url}/api/v1/enforcer"

    @property
    def image_reference(self) -> str:
        return f"{self.image}:{self.image_tag}"

    @property
    def payloads(self) -> PayloadOptions:
        return PayloadOptions.of(
            self.payload_keys_file, self.payload_compression, self.payload_storage, self.payload_storage_from
        )

    @property
    def otlp_header_values(self) -> dict[str, str]:
        """Return the headers for the collector, by name."""
        pairs = (pair.partition("=") for pair in (self.otlp_headers or "").split(",") if "=" in pair)
        return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs if value.strip()}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the values that must not leave the process."""
        keys = [self.api_key, self.litellm_api_key, self.openai_api_key, self.enforcer_api_key]
        keys += self.otlp_header_values.values()
        return tuple(key for key in keys if key)
