"""The part of the worker commands that deals with a worker in a container."""

from __future__ import annotations

from typing import Final

from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.launch import containers
from kubiya_worker.launch.containers import FoundContainer
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.report import WorkerReport

TASKS: Final = (("active", "active"), ("completed", "done"), ("failed", "failed"))


def container_of(home: Home, worker_report: WorkerReport) -> FoundContainer | None:
    """Return the queue's container; None when the queue's own daemon is meant.

    The daemon is meant when it runs, or when it ran last.
    """
    if worker_report.alive or home.instance != 1:
        return None
    boxes = sorted(containers.find(home.queue), key=lambda each: each.alive, reverse=True)
    if not boxes:
        return None
    return boxes[0] if boxes[0].alive or not (worker_report.state or worker_report.has_pid_file) else None


def lines(container: FoundContainer, paint: Paint, ago: str) -> list[str]:
    """Return the status lines for a person. Pure."""
    colour = paint.green if container.word == "RUNNING" else paint.yellow if container.alive else paint.red
    text = [f"{container.queue}  {colour(container.word)} in the container {container.name}"]

    def row(name: str, value: str) -> None:
        if value:
            text.append(f"  {paint.dim(f'{name:14}')}{one_line(value, 160)}")

    row("since", f"{container.ended_at or container.started_at} ({ago})" if ago else "")
    row("image", container.image)
    row("engine says", container.status + (f", {container.health}" if container.health else ""))
    row("polling", "" if container.polling is None else "yes" if container.polling else "no")
    if container.worker_status:
        tasks = [f"{container.worker_status.get(f'{name}_tasks')} {word}" for name, word in TASKS]
        row("tasks", ", ".join(tasks))
        row("must restart", str(container.worker_status.get("must_restart") or ""))
    row("restarts", str(container.restarts) if container.restarts else "")
    if container.exit_code is not None:
        row("exit code", f"{container.exit_code}{', out of memory' if container.out_of_memory else ''}")
    row("log", f"kubiya worker logs --queue-id {container.queue} -f, or: docker logs -f {container.name}")
    return text
