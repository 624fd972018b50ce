"""`kubiya worker status` and `kubiya worker list`."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import click

from kubiya_worker.cli import worker_container
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.cli.worker_container import container_of
from kubiya_worker.cli.worker_target import home_of, worker_options
from kubiya_worker.launch import containers, dev_worker, report
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.dev_worker import DevWorker
from kubiya_worker.launch.report import WorkerReport

DEATHS_SHOWN = 5  # of the 20 that --json has


@click.command()
@worker_options
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
def status(queue_id: str | None, instance: int, as_json: bool) -> int:
    """Show the state of a worker. Exit code 0: it is supervised; 1: there is no PID file; 3: there is a stale one.

    The supervisor is asked, not its files; one that lives and does not answer is UNKNOWN, with the age of what it said.

    A worker in a container (--type=docker) is found by its labels: 0 while the engine runs it, else 1.
    """
    stack = dev_worker.meant(queue_id) if instance == 1 else None
    if stack is not None:
        print(json.dumps(stack.as_json(), ensure_ascii=False) if as_json else "\n".join(_of_stack(stack)))
        return 0
    home = home_of(queue_id, instance)
    worker_report = report.examine(home)
    box = container_of(home, worker_report)
    if box is not None:
        since = ago(box.ended_at or box.started_at, time.time())
        shown = worker_container.lines(box, Paint.for_stream(sys.stdout), since)
        print(json.dumps(box.as_json(), ensure_ascii=False) if as_json else "\n".join(shown))
        return 0 if box.alive else 1
    if as_json:
        print(json.dumps(worker_report.as_json(), ensure_ascii=False))
    else:
        print("\n".join(lines(worker_report, Paint.for_stream(sys.stdout), time.time())))
    return worker_report.exit_code


def _of_stack(stack: DevWorker) -> list[str]:
    paint = Paint.for_stream(sys.stdout)
    rows = (
        ("stack", f"pid {stack.pid}, kubiya dev; kill {stack.pid} stops it with its worker"),
        ("control plane", stack.control_plane_url),
        ("log", str(stack.log_file)),
    )
    return [f"{stack.queue}  {paint.green(report.RUNNING)}", *(f"  {paint.dim(f'{n:14}')}{value}" for n, value in rows)]


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each worker, one a line.")
def list_(as_json: bool) -> None:
    """List the workers of this host, running or not."""
    reports = [report.examine(home) for home in homes.homes()]
    boxes = containers.find()
    stack = dev_worker.find(os.environ)
    if as_json:
        stacks = [stack.as_json()] if stack else []
        for facts in (*(each.as_json() for each in reports), *(box.as_json() for box in boxes), *stacks):
            print(json.dumps(facts, ensure_ascii=False))
        return
    if not reports and not boxes and not stack:
        click.echo("There are no workers here. Start one: kubiya worker start --queue-id Q -d", err=True)
        return
    rows = [("QUEUE", "INSTANCE", "STATE", "PID", "WORKER", "TASKS", "SINCE")]
    for each in reports:
        rows.append(
            (
                each.home.queue,
                str(each.home.instance),
                each.word,
                str(each.pid or "-") if each.alive else "-",
                str(each.worker_pid or "-"),
                str(each.live_status.get("active_tasks", "-")),
                ago(each.state.get("since"), time.time()) or "-",
            )
        )
    for box in boxes:
        since = ago(box.ended_at or box.started_at, time.time()) or "-"
        rows.append(
            (box.queue, "docker", box.word, "-", box.name, str(box.worker_status.get("active_tasks", "-")), since)
        )
    if stack:
        rows.append((stack.queue, "dev", report.RUNNING, str(stack.pid), "-", "-", "-"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def lines(worker_report: WorkerReport, paint: Paint, now: float) -> list[str]:
    """Return the status lines for a person. Pure."""
    facts = worker_report.as_json()
    colour = paint.green if worker_report.word == report.RUNNING else paint.yellow if worker_report.alive else paint.red
    why = f": {one_line(worker_report.why, 200)}" if worker_report.why else ""
    shown = [f"{worker_report.home.label}  {colour(worker_report.word)}{why}"]

    def row(name: str, value: str) -> None:
        if value:
            shown.append(f"  {paint.dim(f'{name:14}')}{value}")

    row("since", _time(facts["since"], now))
    if worker_report.alive:
        row("supervisor", f"pid {facts['supervisor_pid']}, started {_time(facts['started_at'], now)}")
        row(
            "worker", f"pid {worker_report.worker_pid}" + (f", {one_line(facts['says'], 120)}" if facts["says"] else "")
        )
        row("next start", _time(facts["next_start"], now))
        row("verbose until", _time(facts["log_level_until"], now))
    status = worker_report.live_status
    if status:
        said = f" (said {_duration(status['age'])} ago)" if _is_old(status) else ""
        counts = [f"{status.get(f'{name}_tasks')} {word}" for name, word in worker_container.TASKS]
        row("tasks", ", ".join(counts) + said)
        row("polling", _polling(status))
        row("must restart", one_line(str(status.get("must_restart") or ""), 160))
        row("confinement", one_line(str(status.get("confinement") or ""), 160))
    row("control plane", str(facts["control_plane_url"] or ""))
    row("folder", str(worker_report.home.folder))
    files = facts["log"]["files"]
    if files:
        lost = facts["log"].get("lost_lines") or 0
        total = size(sum(files.values()))
        row("log", f"{worker_report.home.log_file} ({total} in {len(files)}{f'; {lost} lines lost' if lost else ''})")
    deaths = facts["deaths"]
    if deaths:
        row("deaths", f"{len(deaths)} known" + (f", the last {DEATHS_SHOWN}:" if len(deaths) > DEATHS_SHOWN else ":"))
        for death in deaths[-DEATHS_SHOWN:]:
            shown.append(f"    {death_line(death)}")
            last = death.get("last_lines") or []
            shown += [f"      {paint.dim(one_line(str(text), 160))}" for text in last[-2:]]
    if not worker_report.alive:
        code = facts["exit_code"]
        row("exit code", "" if code is None else str(code))
    return shown


def death_line(death: dict[str, Any]) -> str:
    how = death.get("signal") or f"exit code {death.get('code')}"
    uptime = death.get("uptime")
    after = f" after {_duration(float(uptime))}" if isinstance(uptime, int | float) else ""
    return f"{death.get('at')}  pid {death.get('pid')}  {how} ({death.get('class')}){after}"


def _polling(own: dict[str, Any]) -> str:
    if own.get("polling") is None:
        return f"unknown (the worker last said {own.get('state')}" + (
            f", {_duration(own['age'])} ago)" if _is_old(own) else ")"
        )
    return "yes" if own["polling"] else f"no, {own.get('state')}"


def _is_old(own: dict[str, Any]) -> bool:
    return own.get("polling") is None and own.get("age") is not None


def ago(stamp: Any, now: float) -> str:
    """Return `3 min ago` for an ISO time; "" when it is not a time."""
    try:
        at = datetime.fromisoformat(str(stamp)).astimezone(UTC).timestamp()
    except ValueError:
        return ""
    return f"{_duration(now - at)} ago" if at <= now else f"in {_duration(at - now)}"


def _time(stamp: Any, now: float) -> str:
    return f"{stamp} ({ago(stamp, now)})" if stamp and ago(stamp, now) else ""


def _duration(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return f"{max(seconds, 0):.1f} s" if seconds < 10 else f"{int(seconds)} s"


def size(count: float) -> str:
    """Format a number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
