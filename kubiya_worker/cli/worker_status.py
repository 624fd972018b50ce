"""`kubiya worker status` and `kubiya worker list`."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

import click

from kubiya_worker.cli import worker_container
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.cli.which import home_of, which
from kubiya_worker.cli.worker_container import container_of
from kubiya_worker.launch import containers, report
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.report import Report

DEATHS_SHOWN = 5  # of the 20 that --json has


@click.command()
@which
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
def status(queue_id: str | None, instance: int, as_json: bool) -> int:
    """Show the state of a worker. Exit code 0: it is supervised; 1: there is no PID file; 3: there is a stale one.

    A worker in a container (--type=docker) is found by its labels: 0 while the engine runs it, else 1.
    """
    home = home_of(queue_id, instance)
    found = report.examine(home)
    box = container_of(home, found)
    if box is not None:
        since = ago(box.ended_at or box.started_at, time.time())
        shown = worker_container.lines(box, Paint.for_stream(sys.stdout), since)
        print(json.dumps(box.as_json(), ensure_ascii=False) if as_json else "\n".join(shown))
        return 0 if box.alive else 1
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        print("\n".join(lines(found, Paint.for_stream(sys.stdout), time.time())))
    return found.exit_code


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each worker, one a line.")
def list_(as_json: bool) -> None:
    """List the workers of this host, running or not."""
    found = [report.examine(home) for home in homes.homes()]
    boxes = containers.find()
    if as_json:
        for facts in (*(each.as_json() for each in found), *(box.as_json() for box in boxes)):
            print(json.dumps(facts, ensure_ascii=False))
        return
    if not found and not boxes:
        click.echo("There are no workers here. Start one: kubiya worker start --queue-id Q -d", err=True)
        return
    rows = [("QUEUE", "INSTANCE", "STATE", "PID", "WORKER", "TASKS", "SINCE")]
    for each in found:
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
        rows.append((box.queue, "docker", box.word, "-", box.name, str(box.says.get("active_tasks", "-")), since))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def lines(found: Report, paint: Paint, now: float) -> list[str]:
    """Return the status lines for a person. Pure."""
    facts = found.as_json()
    colour = paint.green if found.word == report.RUNNING else paint.yellow if found.alive else paint.red
    why = f": {one_line(found.why, 200)}" if found.why else ""
    shown = [f"{found.home.label}  {colour(found.word)}{why}"]

    def row(name: str, value: str) -> None:
        if value:
            shown.append(f"  {paint.dim(f'{name:14}')}{value}")

    row("since", _time(facts["since"], now))
    if found.alive:
        row("supervisor", f"pid {facts['supervisor_pid']}, started {_time(facts['started_at'], now)}")
        row("worker", f"pid {found.worker_pid}" + (f", {one_line(facts['says'], 120)}" if facts["says"] else ""))
        row("next start", _time(facts["next_start"], now))
        row("verbose until", _time(facts["log_level_until"], now))
    own = found.live_status
    if own:
        row(
            "tasks",
            f"{own.get('active_tasks')} active, {own.get('completed_tasks')} done, {own.get('failed_tasks')} failed",
        )
        row("polling", _polling(own, now))
    row("control plane", str(facts["control_plane_url"] or ""))
    row("folder", str(found.home.folder))
    files = facts["log"]["files"]
    if files:
        lost = facts["log"].get("lost_lines") or 0
        total = size(sum(files.values()))
        row("log", f"{found.home.log_file} ({total} in {len(files)}{f'; {lost} lines lost' if lost else ''})")
    deaths = facts["deaths"]
    if deaths:
        row("deaths", f"{len(deaths)} known" + (f", the last {DEATHS_SHOWN}:" if len(deaths) > DEATHS_SHOWN else ":"))
        for death in deaths[-DEATHS_SHOWN:]:
            shown.append(f"    {death_line(death)}")
            last = death.get("last_lines") or []
            shown += [f"      {paint.dim(one_line(str(text), 160))}" for text in last[-2:]]
    if not found.alive:
        code = facts["exit_code"]
        row("exit code", "" if code is None else str(code))
    return shown


def death_line(death: dict[str, Any]) -> str:
    how = death.get("signal") or f"exit code {death.get('code')}"
    uptime = death.get("uptime")
    after = f" after {_duration(float(uptime))}" if isinstance(uptime, int | float) else ""
    return f"{death.get('at')}  pid {death.get('pid')}  {how} ({death.get('class')}){after}"


def _polling(own: dict[str, Any], now: float) -> str:
    said = own.get("at")
    old = now - said if isinstance(said, int | float) else 0.0
    text = "yes" if own.get("polling") else f"no, {own.get('state')}"
    return f"{text} (said {_duration(old)} ago)" if old > 15 else text


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
