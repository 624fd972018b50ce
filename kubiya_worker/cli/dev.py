"""`kubiya dev`: Temporal, the local control plane and one worker on this machine, in the foreground."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from kubiya_worker.cli.grouped_options import grouped
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.doctor import quick_checks
from kubiya_worker.errors import UsageError
from kubiya_worker.launch.stack import Stack
from kubiya_worker.launch.stack_folder import StackFolder, default_folder
from kubiya_worker.launch.stack_plan import NAMES, Facts, StackOptions
from kubiya_worker.launch.temporal_server import ORIGINS
from kubiya_worker.models import listing
from kubiya_worker.models.choice import split
from kubiya_worker.models.connection import GATEWAY
from kubiya_worker.protocol.names import DEMO_MODEL
from kubiya_worker.settings.value_types import queue_id as parse_queue

PORT = click.IntRange(0, 65535)
DEFAULT_MODEL = "LITELLM_DEFAULT_MODEL"
ENDPOINTS = (
    *("LITELLM_API_BASE", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_API_KEY_FILE"),
    *("KUBIYA_ENABLE_LOCAL_PROXY", "KUBIYA_MODEL_OVERRIDE", "KUBIYA_MODEL"),
)


OFFLINE = (
    "No model is configured: agents without model_id use the demo model, which is no LLM. For another one set "
    "OPENAI_API_KEY, OPENAI_BASE_URL or LITELLM_API_BASE, or give --model."
)


class DevOutput:
    """The output for a person: events go to stderr, facts to stdout. With `as_json`, one line when ready."""

    def __init__(
        self, *, as_json: bool, local: Callable[[], Sequence[listing.ModelList]] = tuple, offline: bool = False
    ) -> None:
        """Prepare the output. `local` returns this host's model servers; it is called once, when all is ready.

        `offline`: agents without a model get the demo model, which a person has to know.
        """
        self._offline = offline
        self._json = as_json
        self._local = local
        self._paint = Paint.for_stream(sys.stdout)
        self._stopping = False

    def ready(self, facts: Facts) -> None:
        if self._json:
            report: dict[str, Any] = {
                "event": "ready",
                "control_plane_url": facts.control_plane_url,
                "temporal_address": facts.temporal_address,
                "temporal_ui_url": facts.temporal_ui_url,
                "queue": facts.queue,
                "env_file": str(facts.env_file),
                "logs": str(facts.logs),
                "pid": facts.pid,
                "seconds": round(facts.seconds, 2),
            }
            if servers := self._local():
                report["local_models"] = {a.endpoint.url: [listed.name for listed in a.models] for a in servers}
            print(json.dumps(report), flush=True)
            return
        # The key in the address signs the browser in. It is printed on a terminal only: saved output must not hold it.
        key = f"/#key={facts.api_key}" if sys.stdout.isatty() else "/"
        home = str(Path.home())
        env_file = str(facts.env_file).replace(home + "/", "~/", 1)
        rows = [
            ("dashboard", facts.control_plane_url + key),
            ("control plane", facts.control_plane_url),
            ("Temporal", facts.temporal_address + (f", page {facts.temporal_ui_url}" if facts.temporal_ui_url else "")),
            *([("payloads", f"encrypted; its page reads them while `{_codec(facts)}` runs")] if _codec(facts) else []),
            ("logs", f"{str(facts.logs).replace(home + '/', '~/', 1)}/"),
        ]
        servers = self._local()
        rows += [("local models", one_line(listing.summary(server), 160)) for server in servers]
        for name, value in rows:
            print(f"  {self._paint.dim(f'{name:14}')}{value}")
        if servers:
            model = one_line(servers[0].models[0].name, 60)
            print(self._paint.dim(f"  Agents use the demo model. With a local one: kubiya dev --model {model}"))
        elif self._offline:
            print(self._paint.dim(f"  {OFFLINE}"))
        print(self._paint.bold(f"ready in {facts.seconds:.1f} s: a worker polls the queue {facts.queue!r}"))
        print("In another terminal:")
        print(f"  . {env_file}")
        print('  kubiya exec agent ops "What fills the disk under /var/log?"')
        print(self._paint.dim("Ctrl-C stops everything."), flush=True)

    def restarting(self, end: str, delay: float) -> None:
        self._print_event(f"the worker {end}. It is started again in {delay:g} s")

    def stopping(self, name: str) -> None:
        if not self._stopping:
            self._stopping = True
            self._print_event("stopping; press Ctrl-C again to force it")
        elif not self._json:
            self._print_event(
                f"stopping {NAMES[name][:1].lower() + NAMES[name][1:] if name != 'temporal' else 'Temporal'}"
            )

    def line(self, name: str, text: str) -> None:
        print(f"{self._paint.dim(f'{name:14}')}{text}", file=sys.stderr, flush=True)

    def _print_event(self, text: str) -> None:
        print(f"kubiya dev: {text}", file=sys.stderr, flush=True)


def _codec(facts: Facts) -> str:
    """Return the command that lets Temporal's page show encrypted payloads.

    Empty when payloads are not encrypted, or there is no page.
    """
    if not facts.encrypted or not facts.temporal_ui_url:
        return ""
    known = facts.temporal_ui_url in ORIGINS
    return "kubiya server codec" + ("" if known else f" --origin {facts.temporal_ui_url}")


@dataclass(frozen=True)
class PortOptions:
    """The options for the ports of a stack; 0 is any free one."""

    port: int
    temporal_port: int
    ui_port: int
    no_ui: bool


port_options: Final = grouped(
    "ports",
    PortOptions,
    click.option(
        "--port", type=PORT, default=7777, show_default=True, help="Port of the control plane; 0: any free one."
    ),
    click.option(
        "--temporal-port", type=PORT, default=7233, show_default=True, help="Port of Temporal; 0: any free one."
    ),
    click.option(
        "--ui-port", type=PORT, default=8233, show_default=True, help="Port of Temporal's page; 0: any free one."
    ),
    click.option("--no-ui", is_flag=True, help="Do not start Temporal's page."),
)


@dataclass(frozen=True)
class TemporalOptions:
    """The options for a Temporal server that runs already."""

    temporal_address: str | None
    temporal_namespace: str

    def check(self) -> None:
        """Raise UsageError for an address that is none."""
        address = self.temporal_address
        if address and not address.rpartition(":")[2].isdigit():
            raise UsageError(f"--temporal-address {address!r} is not HOST:PORT", remedy="Such as temporal.example:7233")


temporal_options: Final = grouped(
    "temporal",
    TemporalOptions,
    click.option("--temporal-address", help="Use the Temporal server at HOST:PORT instead of starting one."),
    click.option("--temporal-namespace", default="default", show_default=True, help="Its namespace."),
)


@click.command()
@port_options
@temporal_options
@click.option("--ephemeral", is_flag=True, help="Keep no data: Temporal in memory, a fresh control plane.")
@click.option("--queue-id", default="default", show_default=True, help="The worker's queue, by id or name.")
@click.option("--model", help="Model of the sample agent and of this worker, such as demo, or one of a local server.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Default: ~/.kubiya/dev (or KUBIYA_DEV_DIR).")
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Show the logs of Temporal, the control plane and the worker.")
def dev(
    ports: PortOptions,
    temporal: TemporalOptions,
    ephemeral: bool,
    queue_id: str,
    model: str | None,
    state_dir: Path | None,
    as_json: bool,
    verbose: bool,
) -> int:
    """Run Temporal, a control plane and a worker on this machine until Ctrl-C.

    Example: kubiya dev
    """
    temporal.check()
    try:
        parse_queue(queue_id)
    except ValueError as error:
        raise UsageError(
            f"--queue-id {queue_id!r} is not {error}", remedy="Leave it out for the queue 'default'"
        ) from error
    options = StackOptions(
        state_dir=state_dir.expanduser().absolute() if state_dir else default_folder(os.environ),
        port=ports.port,
        temporal_port=ports.temporal_port,
        ui_port=None if ports.no_ui else ports.ui_port,
        temporal_address=temporal.temporal_address,
        namespace=temporal.temporal_namespace,
        ephemeral=ephemeral,
        queue=queue_id,
        model=model,
        follow=verbose,
    )
    environ = dict(os.environ)
    configured = is_configured(environ)
    fallback = {} if model or configured else offline_default(environ)
    environ |= fallback
    if model and not configured:
        environ |= local_endpoint(model)
    servers = (
        ThreadPoolExecutor(1, "local-models").submit(listing.local_servers) if not model and not configured else None
    )
    if not StackFolder(options.state_dir).key_file.exists():  # the first start, whose end names commands to type
        for line in quick_checks.clash(os.environ):
            print(f"kubiya dev: {line}", file=sys.stderr, flush=True)
    screen = DevOutput(as_json=as_json, local=servers.result if servers else tuple, offline=bool(fallback))
    return Stack(options, screen, environ).run()


def is_configured(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names a model endpoint; then no local server is searched."""
    return any(environ.get(name, "").strip() for name in ENDPOINTS)


def offline_default(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that gives agents without a model the demo model; empty where a default model is set."""
    return {} if environ.get(DEFAULT_MODEL, "").strip() else {DEFAULT_MODEL: DEMO_MODEL}


def local_endpoint(model: str) -> dict[str, str]:
    """Return the variables that make the worker use the local server with `model`; empty when no server has it."""
    if model == DEMO_MODEL or split(model)[0] != GATEWAY:
        return {}
    place = listing.first_with(model, listing.local_servers())
    if place is None:
        return {}
    print(f"kubiya dev: {one_line(model, 60)} is served by {place.label} at {place.url}", file=sys.stderr, flush=True)
    return {"OPENAI_BASE_URL": place.url}
