"""`kubiya worker stop`, `kubiya worker drain` and `kubiya worker restart`."""

from __future__ import annotations

from typing import Final

import click

from kubiya_worker.cli.worker_container import container_of
from kubiya_worker.cli.worker_target import home_of, worker_options
from kubiya_worker.errors import TemporaryFailure, UsageError
from kubiya_worker.launch import containers, control, report
from kubiya_worker.launch import drain as drains
from kubiya_worker.launch.containers import FoundContainer
from kubiya_worker.settings import value_types

KILLED: Final = 128 + 9  # exit code of a container that the engine had to kill
LONGEST_DRAIN: Final = value_types.seconds(0, 30 * 86_400)


def _print_event(text: str) -> None:
    click.echo(f"kubiya worker: {text}", err=True)


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds: float = LONGEST_DRAIN(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not {error}") from None
    return seconds


@click.command()
@worker_options
@click.option("-f", "--force", is_flag=True, help="Kill it at once; the next worker takes up its work.")
def stop(queue_id: str | None, instance: int, force: bool) -> None:
    """Stop a worker. Running work has the grace period to finish. The exit code is 1 when it had to be killed.

    Example: kubiya worker stop --queue-id default
    """
    home = home_of(queue_id, instance)
    box = container_of(home, report.examine(home))
    if box is not None:
        _stop_container(box, force=force)
        return
    result = control.stop(home, _print_event, force=force)
    if result.stale:
        print(f"{home.label} was not running; its stale PID file is removed")
    elif force:
        print(f"{home.label} was killed (pid {result.pid}) and all that it had started")
    else:
        code = "" if result.code is None else f", exit code {result.code}"
        print(f"{home.label} stopped in {result.seconds:.1f} s (pid {result.pid}{code})")


def _stop_container(box: FoundContainer, *, force: bool) -> None:
    seconds, code = containers.stop(box, force=force)
    if not box.alive:
        print(f"{box.queue} was not running; its container {box.name} is removed")
    elif force:
        print(f"{box.queue} was killed (container {box.name})")
    elif code == KILLED:
        raise control.NotStopped(
            f"The worker in the container {box.name} did not stop in time and was killed",
            remedy="The next worker takes up its work",
        )
    else:
        print(f"{box.queue} stopped in {seconds:.1f} s (container {box.name}, exit code {code})")


@click.command()
@worker_options
@click.option("--timeout", callback=_seconds, help="Stop it after that time: 90, 300s, 5m.  [default: no limit]")
def drain(queue_id: str | None, instance: int, timeout: float | None) -> None:
    """Let a worker finish all running steps without a time limit, accept nothing new, and end.

    The exit code is 0 when all steps have finished, 75 when some were cut off. Executions that wait for a person hold
    no step: the next worker of the queue continues them. Ctrl-C ends the waiting, not the drain.

    Example: kubiya worker drain --queue-id default --timeout 5m
    """
    home = home_of(queue_id, instance)
    box = container_of(home, report.examine(home))
    if box is not None and box.alive:
        raise UsageError(
            f"The worker of {box.queue} runs in the container {box.name}, which the engine drains",
            remedy=f"docker update --restart=no {box.name}; docker kill --signal QUIT {box.name}",
        )
    result = drains.drain(home, _print_event, timeout)
    ran = f"{result.tasks} {'task' if result.tasks == 1 else 'tasks'} finished, none was cut off"
    print(
        f"{home.label} drained in {result.seconds:.1f} s: {ran if result.tasks else 'nothing ran'} (pid {result.pid})"
    )
    if result.open_executions:
        verb = "executions are" if result.open_executions > 1 else "execution is"
        print(f"{result.open_executions} {verb} not over; the next worker of the queue goes on")


@click.command()
@worker_options
@click.option("--wait-timeout", type=float, default=60.0, help="Seconds until the new one has to poll.  [default: 60]")
def restart(queue_id: str | None, instance: int, wait_timeout: float) -> None:
    """Restart a worker in place: running work finishes first, and the settings of its start are kept.

    Example: kubiya worker restart --queue-id default
    """
    home = home_of(queue_id, instance)
    box = container_of(home, report.examine(home))
    if box is not None:
        if not containers.restart(box, wait_timeout):
            raise TemporaryFailure(
                f"The worker in the container {box.name} does not poll within {wait_timeout:g} s",
                remedy=f"kubiya worker logs --queue-id {box.queue}",
            )
        print(f"{box.queue} restarted (container {box.name})")
        return
    restarted = control.restart(home, wait_timeout)
    print(f"{home.label} restarted (pid {restarted.pid}, worker {restarted.worker_pid})")
