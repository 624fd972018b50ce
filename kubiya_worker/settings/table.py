"""The table of options. Flags, environment, configuration file, defaults, Helm values and reference come from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from kubiya_worker.payloads.converter import (
    COMPRESSION,
    COMPRESSION_VARIABLE,
    FROM_VARIABLE,
    KEYS_VARIABLE,
    LEAST,
    MOST,
    STORAGE_VARIABLE,
    STORED_FROM,
)
from kubiya_worker.protocol.names import DEFAULT_CONTROL_PLANE_URL
from kubiya_worker.settings.kinds import (
    Kind,
    boolean,
    build,
    choice,
    cores,
    deployment,
    integer,
    level,
    path,
    paths,
    queue_id,
    seconds,
    size,
    text,
    url,
)
from kubiya_worker.trust import VARIABLES as CA_VARIABLES

Role = Literal["worker", "place", "file", "launch"]


@dataclass(frozen=True)
class Option:
    """One option. `env` are variables, the first that is set wins; `key` is the dotted key of the file.

    `role` says who is meant: `worker`, wherever it runs; `place`, where a worker on this host keeps its own files;
    `file`, one of this host that a worker elsewhere has to be given; `launch`, how it is brought up here.
    """

    name: str
    parse: Kind
    help: str
    flag: str | None = None
    env: tuple[str, ...] = ()
    key: str | None = None
    default: Any = None
    secret: bool = False
    short: str = ""
    role: Role = "worker"


OPTIONS: Final[tuple[Option, ...]] = (
    Option("queue_id", queue_id, "Worker queue, by id or name", "--queue-id", ("QUEUE_ID",), "queue_id"),
    Option(
        "control_plane_url",
        url,
        "Control plane URL",
        "--control-plane-url",
        ("CONTROL_PLANE_GATEWAY_URL", "CONTROL_PLANE_URL"),
        "control_plane.url",
        DEFAULT_CONTROL_PLANE_URL,
    ),
    Option("api_key", text, "API key", None, ("KUBIYA_API_KEY",), "control_plane.api_key", secret=True),
    Option("api_key_file", path, "File that holds the API key", "--api-key-file", role="launch"),
    Option("environment_name", text, "Environment", None, ("ENVIRONMENT_NAME",), default="default"),
    Option("worker_hostname", text, "Host name to report", None, ("WORKER_HOSTNAME",)),
    Option(
        "heartbeat_interval",
        seconds(1, 3600),
        "Seconds between heartbeats",
        "--heartbeat-interval",
        ("HEARTBEAT_INTERVAL",),
        "control_plane.heartbeat_interval",
        30.0,
    ),
    Option(
        "log_level", level, "Log level", "--log-level", ("KUBIYA_CLI_LOG_LEVEL", "LOG_LEVEL"), "logging.level", "INFO"
    ),
    Option("log_format", choice("text", "pretty", "json"), "Log format", None, ("KUBIYA_LOG_FORMAT",), default="text"),
    Option("debug", boolean, "Tracebacks and debug output", None, ("KUBIYA_DEBUG",), default=False),
    Option(
        "max_concurrent_activities",
        integer(1, 1000),
        "Steps that run at the same time",
        "--max-concurrent-activities",
        ("MAX_CONCURRENT_ACTIVITIES",),
        "resources.max_concurrent_activities",
        10,
    ),
    Option(
        "grace_period",
        seconds(0, 86400),
        "Time that running steps have to finish after SIGTERM",
        "--grace-period",
        ("KUBIYA_GRACE_PERIOD",),
        None,
        30.0,
    ),
    Option(
        "single_execution",
        boolean,
        "End with 0 when the executions of the queue are over, and delete it if it is ephemeral",
        None,
        ("SINGLE_EXECUTION", "KUBIYA_SINGLE_EXECUTION_MODE"),
        default=False,
    ),
    Option(
        "ca_file",
        path,
        "File of the CA certificates that every client goes by, instead of the host's",
        None,
        CA_VARIABLES,
        "network.ca_file",
        role="file",
    ),
    Option("temporal_host", text, "Temporal address, host:port", None, ("TEMPORAL_HOST",), "temporal.host"),
    Option("temporal_namespace", text, "Temporal namespace", None, ("TEMPORAL_NAMESPACE",), "temporal.namespace"),
    Option("task_queue", text, "Temporal task queue", None, ("TEMPORAL_TASK_QUEUE",), "temporal.task_queue"),
    # The names that Temporal's Worker Controller for Kubernetes gives to its pods.
    Option(
        "deployment_name",
        deployment,
        "Worker deployment of Temporal's that this worker is a version of (default: no versioning)",
        None,
        ("TEMPORAL_DEPLOYMENT_NAME",),
        "temporal.deployment_name",
    ),
    Option(
        "build_id",
        build,
        "Which version of it (default: the version of kubiya-worker)",
        None,
        ("TEMPORAL_WORKER_BUILD_ID",),
        "temporal.build_id",
    ),
    Option(
        "versioning_behavior",
        choice("pinned", "auto-upgrade"),
        "Whether an execution stays with the version that took up its run",
        None,
        ("KUBIYA_VERSIONING_BEHAVIOR",),
        "temporal.versioning_behavior",
        "pinned",
    ),
    Option("temporal_tls", boolean, "TLS to Temporal (default: unless it is local)", None, ("TEMPORAL_TLS",)),
    Option("temporal_tls_cert", path, "Client certificate file", None, ("TEMPORAL_TLS_CERT",), role="file"),
    Option("temporal_tls_key", path, "Client key file", None, ("TEMPORAL_TLS_KEY",), role="file"),
    Option(
        "temporal_tls_ca",
        path,
        "CA file of the Temporal server, if another",
        None,
        ("TEMPORAL_TLS_CA",),
        role="file",
    ),
    Option(
        "payload_keys_file",
        path,
        "File of keys (0600) with which what Temporal keeps is encrypted",
        None,
        (KEYS_VARIABLE,),
        "payloads.keys_file",
        role="file",
    ),
    Option(
        "payload_compression",
        choice(*COMPRESSION),
        "Compression of what Temporal keeps",
        None,
        (COMPRESSION_VARIABLE,),
        "payloads.compression",
        "none",
    ),
    Option(
        "payload_storage",
        path,
        "Where large payloads are kept outside of Temporal: a folder, or s3://BUCKET",
        None,
        (STORAGE_VARIABLE,),
        "payloads.storage",
    ),
    Option(
        "payload_storage_from",
        integer(LEAST, MOST),
        "Bytes of a payload from which it is kept there",
        None,
        (FROM_VARIABLE,),
        "payloads.storage_from",
        STORED_FROM,
    ),
    Option(
        "alive_file",
        path,
        "Liveness file",
        None,
        ("KUBIYA_ALIVE_FILE",),
        default="/tmp/worker-alive",  # noqa: S108 - named by the guide
        role="place",
    ),
    Option(
        "ready_file",
        path,
        "Readiness file",
        None,
        ("KUBIYA_READY_FILE",),
        default="/tmp/worker-ready",  # noqa: S108 - the same
        role="place",
    ),
    Option(
        "metrics_port",
        integer(0, 65535),
        "Port of /metrics, /healthz and /readyz; 0 takes a free one",
        "--metrics-port",
        ("KUBIYA_METRICS_PORT",),
        "metrics.port",
    ),
    Option("metrics_host", text, "Its address", None, ("KUBIYA_METRICS_HOST",), "metrics.host", "127.0.0.1"),
    Option(
        "status_file", path, "File in which the worker says what it does", None, ("KUBIYA_STATUS_FILE",), role="place"
    ),
    Option(
        "supervisor_state",
        path,
        "File in which a supervisor says how often it restarted the worker",
        None,
        ("KUBIYA_SUPERVISOR_STATE",),
        role="place",
    ),
    Option("workspace", path, "Folder for the executions' workspaces", None, ("KUBIYA_WORKSPACE",), role="place"),
    Option(
        "spool",
        path,
        "Folder for events while the control plane is away",
        None,
        ("KUBIYA_SPOOL",),
        "events.spool",
        role="place",
    ),
    Option(
        "spool_max_bytes",
        size(0, 2**40),
        "Bytes that it may hold; 0: none, events wait in Temporal's history",
        None,
        ("KUBIYA_SPOOL_MAX_BYTES",),
        "events.spool_max_bytes",
        67_108_864,
    ),
    Option(
        "extensions",
        paths,
        "Python files and folders with custom activities, workflows and tools, commas between",
        None,
        ("KUBIYA_EXTENSIONS",),
        default="",
    ),
    Option("model_override", text, "Model for every agent", "--model", ("KUBIYA_MODEL_OVERRIDE", "KUBIYA_MODEL")),
    Option("default_model", text, "Model for agents without one", None, ("LITELLM_DEFAULT_MODEL",)),
    Option(
        "model_prices",
        path,
        "Table of model prices, a YAML file (default: the public prices)",
        None,
        ("KUBIYA_MODEL_PRICES",),
        "models.prices",
        role="file",
    ),
    Option("litellm_api_base", url, "Model gateway", None, ("LITELLM_API_BASE",)),
    Option("litellm_api_key", text, "Model gateway's key", None, ("LITELLM_API_KEY",), secret=True),
    Option("openai_base_url", url, "OpenAI-compatible endpoint", None, ("OPENAI_BASE_URL",)),
    Option("openai_api_key", text, "Its key", None, ("OPENAI_API_KEY",), secret=True),
    Option(
        "model_idle_timeout",
        seconds(1, 3600),
        "Silence of a model after which the call is tried again",
        None,
        ("KUBIYA_MODEL_IDLE_TIMEOUT",),
        default=120.0,
    ),
    Option(
        "enforce_enabled",
        boolean,
        "Ask the policy service before every tool call",
        None,
        ("KUBIYA_ENFORCE_ENABLED",),
        "policy.enforce",
        False,
    ),
    Option(
        "enforcer_url",
        url,
        "Policy service (default: the control plane's /api/v1/enforcer)",
        None,
        ("ENFORCER_SERVICE_URL",),
        "policy.enforcer_url",
    ),
    Option("enforcer_api_key", text, "Its key", None, ("ENFORCER_API_KEY",), secret=True),
    Option(
        "enforcer_timeout",
        seconds(0.05, 10),
        "Time that it has for an answer; then the call is refused",
        None,
        ("KUBIYA_ENFORCE_TIMEOUT",),
        "policy.enforcer_timeout",
        2.0,
    ),
    Option(
        "policy_file",
        path,
        "File of rules of this host's own",
        None,
        ("KUBIYA_POLICY_FILE",),
        "policy.rules_file",
        role="file",
    ),
    Option(
        "activity_timeout",
        seconds(1, 86400),
        "Longest time of one tool call (default: each tool's own)",
        None,
        ("KUBIYA_ACTIVITY_TIMEOUT",),
        "resources.activity_timeout",
    ),
    # How a worker is brought up on this host; the worker itself does not use them.
    Option(
        "deployment_type",
        choice("local", "docker"),
        "Deployment type",
        "--type",
        (),
        "deployment_type",
        "local",
        role="launch",
    ),
    Option(
        "daemon_mode",
        boolean,
        "Run in the background, supervised",
        "--daemon",
        (),
        "daemon_mode",
        False,
        short="-d",
        role="launch",
    ),
    Option(
        "max_log_size",
        size(4 << 10, 1 << 40),
        "-d: bytes of a log file before it is rotated",
        "--max-log-size",
        ("KUBIYA_MAX_LOG_SIZE",),
        "logging.max_size_bytes",
        104_857_600,
        role="launch",
    ),
    Option(
        "max_log_backups",
        integer(0, 1000),
        "-d: rotated log files to keep",
        "--max-log-backups",
        (),
        "logging.max_backups",
        5,
        role="launch",
    ),
    Option("python_path", text, "Python interpreter for the worker", None, ("PYTHON_PATH",), role="launch"),
    Option(
        "package_version",
        text,
        "Version of the worker to run with, else this one",
        "--package-version",
        ("KUBIYA_WORKER_PACKAGE_VERSION",),
        role="launch",
    ),
    Option(
        "local_wheel",
        path,
        "Wheel file of the worker to run with",
        "--local-wheel",
        ("KUBIYA_WORKER_LOCAL_WHEEL",),
        role="launch",
    ),
    Option(
        "package_source",
        text,
        "Any of: a version, a file, git+https://…, owner/repo@ref",
        "--package-source",
        ("KUBIYA_WORKER_PACKAGE_SOURCE",),
        role="launch",
    ),
    Option("no_cache", boolean, "Install without the cache of packages", "--no-cache", (), None, False, role="launch"),
    Option("no_update", boolean, "Keep the packages that are installed", "--no-update", (), None, False, role="launch"),
    Option(
        "image",
        text,
        "--type=docker: the worker's image",
        "--image",
        (),
        "docker.image",
        "ghcr.io/kubiyabot/agent-worker",
        role="launch",
    ),
    Option("image_tag", text, "--type=docker: its tag", "--image-tag", (), "docker.image_tag", "latest", role="launch"),
    Option(
        "pull",
        boolean,
        "--type=docker: fetch the newest image of that tag first; --pull=false does not",
        "--pull",
        (),
        "docker.pull",
        True,
        role="launch",
    ),
    Option(
        "memory",
        size(6 << 20, 1 << 44),  # below 6 MiB no engine starts anything
        "--type=docker: most memory, such as 512m or 2g",
        "--memory",
        (),
        "docker.memory",
        role="launch",
    ),
    Option("cpus", cores, "--type=docker: most cores, such as 1.5", "--cpus", (), "docker.cpus", role="launch"),
)
BY_NAME: Final = {option.name: option for option in OPTIONS}
