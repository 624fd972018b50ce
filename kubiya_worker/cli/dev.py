"""`kubiya dev`: Temporal, the local control plane and one worker on this machine, in the foreground."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from kubiya_worker.cli.terminal import Paint
from kubiya_worker.errors import UsageError
from kubiya_worker.launch.stack import NAMES, Facts, Options, Stack
from kubiya_worker.launch.state import default_folder
from kubiya_worker.launch.temporal_server import ORIGINS
from kubiya_worker.settings.kinds import queue_id as parse_queue

PORT = click.IntRange(0, 65535)


class Screen:
    """What a person reads: on stderr what happens, on stdout what there is; one line when ready with `as_json`."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._paint = Paint.for_stream(sys.stdout)
        self._stopping = False

    def ready(self, facts: Facts) -> None:
        if self._json:
            shown = {
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
            print(json.dumps(shown), flush=True)
            return
        # The key in the address signs the browser in. Only a person's terminal gets it: output that is kept must not.
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
        for name, value in rows:
            print(f"  {self._paint.dim(f'{name:14}')}{value}")
        print(self._paint.bold(f"ready in {facts.seconds:.1f} s: a worker polls the queue {facts.queue!r}"))
        print("In another terminal:")
        print(f"  . {env_file}")
        print('  kubiya exec agent ops "What fills the disk under /var/log?"')
        print(self._paint.dim("Ctrl-C stops everything."), flush=True)

    def restarting(self, code: int, delay: float, last: str) -> None:
        self._say(f"the worker ended with exit code {code} and is started again in {delay:g} s: {last}")

    def stopping(self, name: str) -> None:
        if not self._stopping:
            self._stopping = True
            self._say("stopping; again to force")
        elif not self._json:
            self._say(f"stopping {NAMES[name][:1].lower() + NAMES[name][1:] if name != 'temporal' else 'Temporal'}")

    def line(self, name: str, text: str) -> None:
        print(f"{self._paint.dim(f'{name:14}')}{text}", file=sys.stderr, flush=True)

    def _say(self, text: str) -> None:
        print(f"kubiya dev: {text}", file=sys.stderr, flush=True)


def _codec(facts: Facts) -> str:
    """What has to run so that Temporal's page can read encrypted payloads; empty when there are none, or no page."""
    if not facts.encrypted or not facts.temporal_ui_url:
        return ""
    known = facts.temporal_ui_url in ORIGINS
    return "kubiya server codec" + ("" if known else f" --origin {facts.temporal_ui_url}")


@click.command()
@click.option("--port", type=PORT, default=7777, show_default=True, help="Port of the control plane; 0: any free one.")
@click.option("--temporal-port", type=PORT, default=7233, show_default=True, help="Port of Temporal; 0: any free one.")
@click.option("--ui-port", type=PORT, default=8233, show_default=True, help="Port of Temporal's page; 0: any free one.")
@click.option("--no-ui", is_flag=True, help="Without Temporal's page.")
@click.option("--temporal-address", help="Use the Temporal server at HOST:PORT instead of starting one.")
@click.option("--temporal-namespace", default="default", show_default=True, help="Its namespace.")
@click.option("--ephemeral", is_flag=True, help="Keep no data: Temporal in memory, a fresh control plane.")
@click.option("--queue-id", default="default", show_default=True, help="The worker's queue, by id or name.")
@click.option("--model", help="Model of the sample agent and of this worker, such as demo or gpt-5-mini.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Default: ~/.kubiya/dev (or KUBIYA_DEV_DIR).")
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Show the logs of all three.")
def dev(
    port: int,
    temporal_port: int,
    ui_port: int,
    no_ui: bool,
    temporal_address: str | None,
    temporal_namespace: str,
    ephemeral: bool,
    queue_id: str,
    model: str | None,
    state_dir: Path | None,
    as_json: bool,
    verbose: bool,
) -> int:
    """Run Temporal, a control plane and a worker on this machine until Ctrl-C."""
    if temporal_address and not temporal_address.rpartition(":")[2].isdigit():
        raise UsageError(f"--temporal-address {temporal_address!r} is not HOST:PORT")
    try:
        parse_queue(queue_id)
    except ValueError as error:
        raise UsageError(f"--queue-id {queue_id!r} is not {error}") from error
    options = Options(
        state_dir=state_dir.expanduser().absolute() if state_dir else default_folder(os.environ),
        port=port,
        temporal_port=temporal_port,
        ui_port=None if no_ui else ui_port,
        temporal_address=temporal_address,
        namespace=temporal_namespace,
        ephemeral=ephemeral,
        queue=queue_id,
        model=model,
        follow=verbose,
    )
    return Stack(options, Screen(as_json=as_json)).run()
