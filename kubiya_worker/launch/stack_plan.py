"""The plan of a local stack: the addresses that it has claimed, its key, and how each of its programs is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kubiya_worker.errors import Unavailable
from kubiya_worker.launch import temporal_server
from kubiya_worker.launch.local import check_server_installed, payload_variables, worker_argv
from kubiya_worker.launch.ports import HOST, claim
from kubiya_worker.launch.stack_folder import StackFolder
from kubiya_worker.payloads.options import KEYS_VARIABLE, STORAGE_VARIABLE

TEMPORAL, CONTROL_PLANE, WORKER = "temporal", "control-plane", "worker"
NAMES: Final = {TEMPORAL: "Temporal", CONTROL_PLANE: "The control plane", WORKER: "The worker"}
GRACE: Final = 10.0  # seconds that running steps have at Ctrl-C; the next start continues the rest
# These variables of the caller would send the worker to another place, or its messages to the caller's supervisor.
WITHHELD: Final = frozenset(
    {"CONTROL_PLANE_URL", "CONTROL_PLANE_GATEWAY_URL", "KUBIYA_API_KEY", "KUBIYA_API_KEY_FILE", "QUEUE_ID"}
    | {"TEMPORAL_HOST", "TEMPORAL_NAMESPACE", "TEMPORAL_TASK_QUEUE", "WATCHDOG_USEC", "WATCHDOG_PID", "NOTIFY_SOCKET"}
    | {"TEMPORAL_TLS", "TEMPORAL_TLS_CERT", "TEMPORAL_TLS_KEY", "TEMPORAL_TLS_CA"}
)


@dataclass(frozen=True)
class StackOptions:
    """Options of the stack. Ports are TCP ports of 127.0.0.1; 0 means any free one."""

    state_dir: Path
    port: int = 7777
    temporal_port: int = 7233
    ui_port: int | None = 8233
    temporal_address: str | None = None
    namespace: str = "default"
    ephemeral: bool = False
    queue: str = "default"
    model: str | None = None
    follow: bool = False  # hand every line of the children's logs to the observer


@dataclass(frozen=True)
class Facts:
    """Facts about a running stack that a person needs."""

    control_plane_url: str
    temporal_address: str
    temporal_ui_url: str | None
    encrypted: bool  # the payloads in Temporal are encrypted
    queue: str
    api_key: str = field(repr=False)
    env_file: Path
    logs: Path
    pid: int
    seconds: float


@dataclass(frozen=True)
class Command:
    """A command line with its environment; `umask` is -1 for that of this process."""

    argv: list[str]
    environment: Mapping[str, str] = field(repr=False)
    umask: int = -1


@dataclass(frozen=True)
class DevServer:
    """The Temporal server that the stack starts itself."""

    program: Path
    port: int
    ui_port: int | None


def _dev_server(options: StackOptions, environ: Mapping[str, str]) -> DevServer:
    program = temporal_server.find_program(environ)
    port = claim(options.temporal_port, "Temporal", "--temporal-port")
    ui_port = None if options.ui_port is None else claim(options.ui_port, "Temporal's web page", "--ui-port")
    return DevServer(program, port, ui_port)


@dataclass(frozen=True)
class StackPlan:
    """A plan says what the stack runs, and where. `own` is None where `temporal_address` names a Temporal."""

    options: StackOptions
    state: StackFolder
    environ: Mapping[str, str] = field(repr=False)
    payloads: Mapping[str, str] = field(repr=False)
    databases: Path
    port: int
    own: DevServer | None
    key: str = field(repr=False)

    @classmethod
    def of(cls, options: StackOptions, state: StackFolder, environ: Mapping[str, str]) -> StackPlan:
        """Claim the ports, and make the key at the first start. Raises WorkerError."""
        check_server_installed()
        payloads = payload_variables(environ)
        databases = state.databases(ephemeral=options.ephemeral)
        temporal_server.check_database(databases / "control-plane.db")
        if not options.temporal_address:
            temporal_server.check_database(databases / "temporal.db", temporal_server.TABLE)
        port = claim(options.port, "the control plane", "--port")
        own = None
        if not options.temporal_address:
            own = _dev_server(options, environ)
        elif not temporal_server.reachable(options.temporal_address, timeout=3.0):
            raise Unavailable(
                f"Nothing answers at --temporal-address {options.temporal_address}", remedy="Is Temporal running?"
            )
        return cls(options, state, environ, payloads, databases, port, own, state.key())

    @property
    def url(self) -> str:
        """Return the control plane's address."""
        return f"http://{HOST}:{self.port}"

    @property
    def temporal_address(self) -> str:
        return f"{HOST}:{self.own.port}" if self.own else str(self.options.temporal_address)

    @property
    def encrypted(self) -> bool:
        return bool(self.payloads.get(KEYS_VARIABLE))

    def temporal(self, own: DevServer) -> Command:
        argv = temporal_server.arguments(
            own.program,
            port=own.port,
            ui_port=own.ui_port,
            database=None if self.options.ephemeral else self.databases / "temporal.db",
            namespace=self.options.namespace,
            encrypted=self.encrypted,
        )
        plain = {k: v for k, v in self.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG", "TZ")}
        return Command(argv, plain, umask=0o077)  # other users must not read its database

    def control_plane(self) -> Command:
        argv = [sys.executable, "-P", "-m", "kubiya_worker.server", "--host", HOST, "--port", str(self.port)]
        argv += ["--database", str(self.databases / "control-plane.db"), "--key-file", str(self.state.key_file)]
        argv += ["--log-file", str(self.state.logs / f"{CONTROL_PLANE}.log")]
        argv += ["--temporal-address", self.temporal_address, "--temporal-namespace", self.options.namespace, "--seed"]
        argv += ["--model", self.options.model] if self.options.model else []
        environment = {k: v for k, v in self.environ.items() if k not in WITHHELD}
        return Command(argv, {**environment, **self.payloads}, umask=0o077)

    def worker(self, notify_socket: str) -> Command:
        run = self.state.run
        env = {k: v for k, v in self.environ.items() if k not in WITHHELD}
        defaults = {
            "KUBIYA_GRACE_PERIOD": f"{GRACE:g}",
            "KUBIYA_ALIVE_FILE": str(run / "worker-alive"),
            "KUBIYA_READY_FILE": str(run / "worker-ready"),
            "KUBIYA_WORKSPACE": str(self.state.folder / "workspaces"),
            "KUBIYA_SPOOL": str(self.state.folder / "spool"),
        }
        fixed = {
            "QUEUE_ID": self.options.queue,
            "KUBIYA_API_KEY": self.key,
            "CONTROL_PLANE_URL": self.url,
            "NOTIFY_SOCKET": notify_socket,
            "TEMPORAL_TLS": "false",  # the control plane connects without TLS, too, also with --temporal-address
            "NO_PROXY": ",".join(filter(None, (env.get("NO_PROXY") or env.get("no_proxy"), HOST))),
        }
        if self.options.model:
            fixed["KUBIYA_MODEL_OVERRIDE"] = self.options.model
        env.pop("no_proxy", None)
        return Command(worker_argv(self.options.queue), {**defaults, **env, **self.payloads, **fixed})

    def facts(self, seconds: float) -> Facts:
        """Return what a person needs to know of it, once it is ready after so many seconds."""
        ui_port = self.own.ui_port if self.own else None
        return Facts(
            control_plane_url=self.url,
            temporal_address=self.temporal_address,
            temporal_ui_url=f"http://{HOST}:{ui_port}" if ui_port else None,
            encrypted=self.encrypted,
            queue=self.options.queue,
            api_key=self.key,
            env_file=self.state.env_file,
            logs=self.state.logs,
            pid=os.getpid(),
            seconds=seconds,
        )

    def shell_variables(self) -> dict[str, str]:
        """Return the variables by which another shell reaches the stack.

        No QUEUE_ID: with it, `worker status` and `worker top` would show this queue's worker and no other.
        """
        return {
            "KUBIYA_API_KEY": self.key,
            "CONTROL_PLANE_URL": self.url,
            "CONTROL_PLANE_GATEWAY_URL": self.url,  # a value of the shell would override the line above
            "TEMPORAL_ADDRESS": self.temporal_address,
            # Another worker, or a codec server, must be able to read the same payloads.
            **{name: self.payloads[name] for name in (KEYS_VARIABLE, STORAGE_VARIABLE) if name in self.payloads},
        }
