"""`kubiya worker stop` and `kubiya worker restart`."""

from __future__ import annotations

import click

from kubiya_worker.cli.which import home_of, which
from kubiya_worker.launch import control


@click.command()
@which
@click.option("-f", "--force", is_flag=True, help="Kill it at once; what it was doing is taken up by the next worker.")
def stop(queue_id: str | None, instance: int, force: bool) -> None:
    """Stop a worker. Running work has the grace period to finish; the exit code is 1 when it had to be killed."""
    home = home_of(queue_id, instance)
    done = control.stop(home, lambda text: click.echo(f"kubiya worker: {text}", err=True), force=force)
    if done.stale:
        print(f"{home.label} was not running; its stale PID file is removed")
    elif force:
        print(f"{home.label} was killed (pid {done.pid}) and all that it had started")
    else:
        code = "" if done.code is None else f", exit code {done.code}"
        print(f"{home.label} stopped in {done.seconds:.1f} s (pid {done.pid}{code})")


@click.command()
@which
@click.option("--wait-timeout", type=float, default=60.0, help="Seconds until the new one has to poll.  [default: 60]")
def restart(queue_id: str | None, instance: int, wait_timeout: float) -> None:
    """Restart a worker in place: running work finishes first, settings stay as they were at its start."""
    home = home_of(queue_id, instance)
    found = control.restart(home, wait_timeout)
    print(f"{home.label} restarted (pid {found.pid}, worker {found.worker_pid})")
