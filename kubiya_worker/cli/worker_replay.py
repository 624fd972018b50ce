"""`kubiya worker replay`: before an upgrade, whether what runs now goes on with what is installed here."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, Final

import click

from kubiya_worker.cli.options import config_file, settings
from kubiya_worker.errors import Unavailable, WorkerError
from kubiya_worker.settings import Settings, resolve

CONNECT: Final = 15.0  # seconds


@click.command("replay")
@settings("queue_id")
@config_file
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each execution, and one for all.")
def replay(queue_id: str | None, config: str | None, as_json: bool) -> int:
    """Replay the queue's open executions against this installation's workflow code; nothing is changed.

    Exit code 1 when one would not go on with it: keep a worker of the version that runs it until it has ended.
    """
    return asyncio.run(_replay(resolve({"queue_id": queue_id}, os.environ, config), as_json))


async def _replay(given: Settings, as_json: bool) -> int:
    from kubiya_worker import __version__, extensions
    from kubiya_worker.control_plane.client import ControlPlane
    from kubiya_worker.payloads.converter import Payloads
    from kubiya_worker.process import replay as replaying
    from kubiya_worker.process import temporal
    from kubiya_worker.protocol import names

    payloads = Payloads.open(given.payloads)
    control_plane = ControlPlane(given.control_plane_url, given.api_key, read_timeout=10.0)
    told: dict[str, Any] = {"hostname": given.worker_hostname}
    registration = control_plane.start_worker(given.queue_id, sdk_version=__version__, system_info=told)
    good = bad = 0
    try:
        try:
            connecting = temporal.connect(given, registration, "kubiya-replay", payloads)
            client = await asyncio.wait_for(connecting, CONNECT)
        except TimeoutError:
            address = given.temporal_host or registration.temporal_host
            raise Unavailable(f"Temporal at {address} does not answer", remedy="Run kubiya doctor") from None
        found = extensions.load(given.extensions, names.OURS)
        for fault in found.faults:
            click.echo(f"kubiya worker: {fault}", err=True)
        queue = given.task_queue or registration.task_queue_name
        async for one in replaying.replay(client, queue, found.workflows):
            good, bad = good + (one.fault is None), bad + (one.fault is not None)
            if as_json:
                print(json.dumps(vars(one)))
            else:
                print(f"{'ok  ' if one.fault is None else 'FAIL'}  {one.workflow_id}  {one.events} events")
                if one.fault is not None:
                    print(f"      {one.fault}")
    finally:
        try:
            control_plane.disconnect(registration.worker_id, reason="replay", exit_code=0)
        except WorkerError:
            pass  # it is forgotten by itself
        control_plane.close()
    if as_json:
        print(json.dumps({"version": __version__, "replayed": good, "failed": bad}))
    elif bad:
        print(f"{bad} of {good + bad} open executions would not go on with kubiya-worker {__version__}.")
        print("Keep a worker of the version that runs them on this queue until they have ended.")
    else:
        print(f"{good} open executions of this queue go on with kubiya-worker {__version__}.")
    return 1 if bad else 0
