"""`kubiya worker replay`: check before an upgrade that open executions can continue with this installation."""

from __future__ import annotations

import asyncio
import json

import click

from kubiya_worker.cli.options import config_file, resolved, settings
from kubiya_worker.cli.temporal import connected
from kubiya_worker.settings import Settings


@click.command("replay")
@settings("queue_id")
@config_file
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each execution, and one for all.")
def replay(queue_id: str | None, config: str | None, as_json: bool) -> int:
    """Replay the queue's open executions with this installation's workflow code. Nothing is changed.

    The exit code is 1 when one could not continue with it: keep a worker of its present version until it has ended.

    Example: kubiya worker replay --queue-id default
    """
    return asyncio.run(_replay(resolved({"queue_id": queue_id}, config), as_json))


async def _replay(configured: Settings, as_json: bool) -> int:
    from kubiya_worker import __version__, extension_loading
    from kubiya_worker.process import replay as replaying
    from kubiya_worker.protocol import names

    good = bad = 0
    async with connected(configured, "replay") as (client, queue):
        loaded = extension_loading.load(configured.extensions, names.OURS)
        for fault in loaded.faults:
            click.echo(f"kubiya worker: {fault}", err=True)
        async for replayed in replaying.replay(client, queue, loaded.workflows):
            good, bad = good + (replayed.fault is None), bad + (replayed.fault is not None)
            if as_json:
                print(json.dumps(vars(replayed)))
            else:
                print(
                    f"{'ok  ' if replayed.fault is None else 'FAIL'}  {replayed.workflow_id}  {replayed.events} events"
                )
                if replayed.fault is not None:
                    print(f"      {replayed.fault}")
    if as_json:
        print(json.dumps({"version": __version__, "replayed": good, "failed": bad}))
    elif bad:
        print(f"{bad} of {good + bad} open executions would not go on with kubiya-worker {__version__}.")
        print("Keep a worker of the version that runs them on this queue until they have ended.")
    else:
        print(f"{good} open executions of this queue go on with kubiya-worker {__version__}.")
    return 1 if bad else 0
