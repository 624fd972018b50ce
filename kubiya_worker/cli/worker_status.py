"""`kubiya worker status` and `kubiya worker list`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from kubiya_worker.cli import tables, worker_container
from kubiya_worker.cli.tables import field
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.cli.worker_container import container_of
from kubiya_worker.cli.worker_target import home_of, worker_options
from kubiya_worker.launch import containers, dev_worker, report
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.containers import FoundContainer
from kubiya_worker.launch.dev_worker import DevWorker
from kubiya_worker.launch.report import WorkerReport

COLUMNS = (
    *(field("queue"), field("instance"), field("state"), field("pid"), field("worker"), field("tasks"), field("since")),
    field("folder", most=60, wide=True),
)
DEATHS_SHOWN = 5  # of the 20 that --json has


@click.command()
@worker_options
@click.option("--json", "as_json", is_flag=True, help="The same as -o json: everything, as one JSON object.")
@tables.output(default=tables.TEXT)
def status(queue_id: str | None, instance: int, as_json: bool, output: str) -> int:
    """Show the state of a worker. Exit code 0: it is supervised; 1: there is no PID file; 3: there is a stale one.

    The supervisor is asked, not its files; one that lives and does not answer is UNKNOWN, with the age of what it said.

    A worker in a container (--type=docker) is found by its labels: 0 while the engine runs it, else 1.

    Example: kubiya worker status --queue-id default
    """
    output = tables.JSON if as_json else output
    asked = output != tables.TEXT
    stack = dev_worker.meant(queue_id) if instance == 1 else None
    if stack is not None:
        _show(stack.as_json(), _row_of_stack(stack), output) if asked else print("\n".join(_of_stack(stack)))
        return 0
    home = home_of(queue_id, instance)
    worker_report = report.examine(home)
    box = container_of(home, worker_report)
    if box is not None:
        since = ago(box.ended_at or box.started_at, time.time())
        shown = worker_container.lines(box, Paint.for_stream(sys.stdout), since)
        _show(box.as_json(), _row_of_container(box), output) if asked else print("\n".join(shown))
        return 0 if box.alive else 1
    if asked:
        _show(worker_report.as_json(), _row_of(worker_report), output)
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
@tables.output()
def list_(as_json: bool, output: str) -> None:
    """List the workers of this host, running or not.

    Example: kubiya worker list -o wide
    """
    reports = [report.examine(home) for home in homes.started()]
    boxes = containers.find()
    stack = dev_worker.find(os.environ)
    stacks = [stack] if stack else []
    facts = [*(row.as_json() for row in reports), *(row.as_json() for row in boxes), *(row.as_json() for row in stacks)]
    if as_json:
        for fact in facts:
            print(json.dumps(fact, ensure_ascii=False))
        return
    if output in (tables.JSON, tables.YAML):
        tables.dump(facts, output)
        return
    if not reports and not boxes and not stack:
        click.echo("There are no workers here. Start one: kubiya worker start --queue-id Q -d", err=True)
        return
    rows = [*map(_row_of, reports), *map(_row_of_container, boxes), *map(_row_of_stack, stacks)]
    tables.show(rows, COLUMNS, output)


def _show(facts: Mapping[str, Any], row: Mapping[str, Any], output: str) -> None:
    tables.dump(facts, output) if output in (tables.JSON, tables.YAML) else tables.show([row], COLUMNS, output)


def _row_of(each: WorkerReport) -> dict[str, Any]:
    return {
        "queue": each.home.queue,
        "instance": each.home.instance,
        "state": each.word,
        "pid": each.pid if each.alive else None,
        "worker": each.worker_pid,
        "tasks": each.live_status.get("active_tasks"),
        "since": ago(each.state.get("since"), time.time()),
        "folder": str(each.home.folder),
    }


def _row_of_container(box: FoundContainer) -> dict[str, Any]:
    tasks, since = box.worker_status.get("active_tasks"), ago(box.ended_at or box.started_at, time.time())
    about = {"queue": box.queue, "instance": "docker", "state": box.word, "worker": box.name}
    return {**about, "tasks": tasks, "since": since}


def _row_of_stack(stack: DevWorker) -> dict[str, Any]:
    return {"queue": stack.queue, "instance": "dev", "state": report.RUNNING, "pid": stack.pid}


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
        age_text = f" (said {_duration(status['age'])} ago)" if _is_old(status) else ""
        counts = [f"{status.get(f'{name}_tasks')} {word}" for name, word in worker_container.TASKS]
        row("tasks", ", ".join(counts) + age_text)
        row("polling", _polling(status))
        row("must restart", one_line(str(status.get("must_restart") or ""), 160))
        row("confinement", one_line(str(status.get("confinement") or ""), 160))
        for command in status.get("long_commands") or ():
            about = f"{command['programs']} ({_time(command['since'], now)}), execution {command['execution_id']}"
            row("long command", one_line(about, 200))
        for finding in status.get("findings") or ():
            row(str(finding["status"]), one_line(f"{finding['message']}. {finding['remedy']}", 300))
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
