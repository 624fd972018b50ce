"""The part of the worker commands that deals with a worker in a container."""

from __future__ import annotations

from typing import Final

from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.launch import containers
from kubiya_worker.launch.containers import Found
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.report import Report

TASKS: Final = (("active", "active"), ("completed", "done"), ("failed", "failed"))


def container_of(home: Home, found: Report) -> Found | None:
    """Return the queue's container; None when the queue's own daemon is meant.

    The daemon is meant when it runs, or when it ran last.
    """
    if found.alive or home.instance != 1:
        return None
    known = sorted(containers.find(home.queue), key=lambda each: each.alive, reverse=True)
    if not known:
        return None
    return known[0] if known[0].alive or not (found.state or found.has_pid_file) else None


def lines(found: Found, paint: Paint, ago: str) -> list[str]:
    """Return the status lines for a person. Pure."""
    colour = paint.green if found.word == "RUNNING" else paint.yellow if found.alive else paint.red
    shown = [f"{found.queue}  {colour(found.word)} in the container {found.name}"]

    def row(name: str, value: str) -> None:
        if value:
            shown.append(f"  {paint.dim(f'{name:14}')}{one_line(value, 160)}")

    row("since", f"{found.ended_at or found.started_at} ({ago})" if ago else "")
    row("image", found.image)
    row("engine says", found.status + (f", {found.health}" if found.health else ""))
    row("polling", "" if found.polling is None else "yes" if found.polling else "no")
    if found.says:
        tasks = [f"{found.says.get(f'{name}_tasks')} {word}" for name, word in TASKS]
        row("tasks", ", ".join(tasks))
    row("restarts", str(found.restarts) if found.restarts else "")
    if found.exit_code is not None:
        row("exit code", f"{found.exit_code}{', out of memory' if found.out_of_memory else ''}")
    row("log", f"kubiya worker logs --queue-id {found.queue} -f, or: docker logs -f {found.name}")
    return shown
