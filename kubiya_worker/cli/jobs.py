"""`kubiya jobs`: tasks that start by a schedule, by a webhook or by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from kubiya_worker.cli import completion, kinds, moments, reason, runs, tables
from kubiya_worker.cli.api.agents import AgentApi
from kubiya_worker.cli.api.jobs import JobsApi
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.connection import connect
from kubiya_worker.cli.grouped_options import grouped
from kubiya_worker.cli.moments import age
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.errors import UsageError

SHOWN: Final = (
    *("id", "name", "description", "status", "trigger_type", "cron_schedule", "cron_timezone", "overlap_policy"),
    *("catch_up_seconds", "next_execution_at"),
    *("webhook_url", "entity_type", "entity_name", "executor_type", "worker_queue_name", "environment_name"),
    *("prompt_template", "system_prompt", "config", "broken", "error_message"),
)

OF_SCHEDULES: Final = frozenset({"cron_schedule", "cron_timezone", "overlap_policy", "catch_up_seconds"})
OVERLAPS: Final = ("allow_all", "skip", "buffer_one", "buffer_all", "cancel_other")  # server/edges/jobs.py


def _when(job: tables.Row) -> str:
    if job.get("trigger_type") != "cron":
        return str(job.get("trigger_type"))
    return f"{job.get('cron_schedule')} {job.get('cron_timezone') or ''}".strip()


def _times(job: dict[str, Any]) -> Iterator[str]:
    """Give a line for each coming run, in the job's own zone, and for each time that started none."""
    zone = _zone(str(job.get("cron_timezone") or "UTC"))
    for at in job.get("next_executions") or ():
        yield f"next: {_at(at, zone)}"
    firings = job.get("firings") or {}
    if firings.get("skipped") or firings.get("missed"):
        yield f"not started so far: {firings['skipped']} for overlap, {firings['missed']} missed"
    for each in firings.get("left_out") or ():
        run = f" ({each['execution_id']})" if each.get("execution_id") else ""
        yield f"not started: {_at(each['at'], zone)}: {one_line(str(each.get('text')), 200)}{one_line(run, 60)}"


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError):  # this host has no zone data, or an older one
        return UTC


def _at(stamp: str, zone: tzinfo) -> str:
    at = moments.parsed(stamp)
    return f"{at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}" if at else one_line(stamp, 40)


def _parameters(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Parse NAME=VALUE words. Raises UsageError for another form."""
    parameters: dict[str, Any] = {}
    for text in pairs:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{one_line(text, 60)!r} is not NAME=VALUE", remedy="See 'kubiya jobs trigger --help'")
        parameters[name.strip()] = value
    return parameters


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def jobs() -> None:
    """List, create and start jobs. JOB is a name, an id, or the first characters of an id."""


@jobs.command()
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each.")
@click.option("-o", "--output", type=click.Choice(tables.FORMATS), help="Output format.  [default: lines]")
@click.option("--queue", shell_complete=completion.names("queues"), help="Only those that run on this queue.")
@click.pass_context
def ls(context: click.Context, as_json: bool, output: str | None, queue: str | None) -> None:
    """List all jobs, or those of a queue.

    Example: kubiya jobs ls --queue default -o wide
    """
    noun = kinds.NOUNS["jobs"]
    if output:
        context.invoke(kinds.commands_of(noun)["ls"], output=output, queue=queue)
        return
    api = connect()
    all_jobs = noun.of_queue(api, queue) if queue else JobsApi(api).all()
    if as_json:
        for job in all_jobs:
            print(json.dumps(job, ensure_ascii=False))
        return
    tables.show_lines(all_jobs, LIST, _below, none="There are no jobs.")


def _state(job: tables.Row) -> str:
    enabled = "enabled" if job.get("enabled", True) else "disabled"
    return f"{enabled}, broken" if job.get("broken") else enabled


LIST: Final = (
    *(tables.field("name", "JOB", 60), tables.Cells("STATE", _state)),
    tables.Cells("RUNS", lambda job: job.get("total_executions") or 0),
    tables.Cells("LAST", lambda job: f"{age(job['last_execution_at'])} ago" if job.get("last_execution_at") else ""),
)


def _below(job: tables.Row) -> list[str]:
    """Return what a list says of a job below its row: when it runs, what runs, and why it cannot."""
    entity = f"{job.get('entity_type')} {job.get('entity_name') or job.get('entity_id')}"
    lines = [f"{one_line(_when(job), 60)}  {one_line(entity, 60)}"]
    if job.get("broken"):
        lines.append(f"{one_line(str(job['broken']), 200)}: give it another one, or remove it")
    return lines


@jobs.command()
@click.argument("job", shell_complete=completion.names("jobs"))
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@tables.output(default=tables.TEXT)
def show(job: str, as_json: bool, output: str) -> None:
    """Show a job and its last executions.

    Example: kubiya jobs show 'disks every morning'
    """
    jobs_api = JobsApi(connect())
    shown = jobs_api.get(str(jobs_api.find(job)["id"]))
    runs = jobs_api.executions(str(shown["id"]))
    if as_json or output != tables.TEXT:
        form = tables.JSON if as_json else output
        tables.show_one({**shown, "executions": runs}, kinds.NOUNS["jobs"].columns, form)
        return
    paint = Paint.for_stream(sys.stdout)
    for name in SHOWN:
        if shown.get(name) and (shown.get("trigger_type") == "cron" or name not in OF_SCHEDULES):
            value = shown[name] if isinstance(shown[name], str) else json.dumps(shown[name], ensure_ascii=False)
            print(f"{paint.dim(f'{name}:')} {one_line(value, 500)}")
    for line in _times(shown):
        print(line)
    for run in runs:
        line = "  ".join(one_line(str(run.get(name)), 40) for name in ("execution_id", "status", "trigger_type"))
        print(f"{line}  {paint.dim(age(run.get('created_at')))}")


@dataclass(frozen=True)
class ScheduleOptions:
    """The options of a job that starts by a schedule, as they are typed."""

    cron: str | None
    timezone: str | None
    overlap: str | None
    catch_up: str | None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the job. Raises UsageError for options that need a schedule and have none."""
        if self.cron is None:
            for flag, value in (
                ("--timezone", self.timezone),
                ("--overlap", self.overlap),
                ("--catch-up", self.catch_up),
            ):
                if value:
                    raise UsageError(f"{flag} goes with --cron", remedy="Leave it out")
            return {}
        span = moments.span(self.catch_up) if self.catch_up else None
        return {
            "cron_schedule": self.cron,
            "cron_timezone": self.timezone or "UTC",
            **({"overlap_policy": self.overlap} if self.overlap else {}),
            **({"catch_up_seconds": span} if span is not None else {}),
        }


schedule_options: Final = grouped(
    "schedule",
    ScheduleOptions,
    click.option("--cron", help="Start by a schedule: minute, hour, day of month, month, day of week."),
    click.option("--timezone", help="Time zone of the schedule, such as Europe/Berlin.  [default: UTC]"),
    click.option(
        "--overlap",
        type=click.Choice(OVERLAPS),
        help="What the schedule does while a run of it is still going.  [default: allow_all]",
    ),
    click.option(
        "--catch-up",
        metavar="TIME",
        help="How long after a firing that Temporal has missed it is made up for, such as 90s or 6h.  [default: 60s]",
    ),
)


@jobs.command()
@click.argument("name")
@click.argument("prompt")
@click.option("--agent", help="The agent that does the job, by id or name.")
@click.option("--team", help="Or a team.")
@schedule_options
@click.option("--webhook", is_flag=True, help="Start by a webhook; its URL and secret are printed.")
@click.option("--queue", help="The worker queue that it runs on.  [default: one with a worker]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reason.option()
def create(
    name: str,
    prompt: str,
    agent: str | None,
    team: str | None,
    schedule: ScheduleOptions,
    webhook: bool,
    queue: str | None,
    as_json: bool,
) -> None:
    """Create a job. Without --cron or --webhook it starts by hand only.

    A {{NAME}} in the prompt is replaced by a parameter, or by a field of the webhook's payload.

    Example: kubiya jobs create 'disks every morning' 'Look for full disks.' --agent ops --cron '0 7 * * *'
    """
    if bool(agent) == bool(team):
        raise UsageError("A job is for an agent or for a team", remedy="Give --agent NAME or --team NAME")
    if schedule.cron is not None and webhook:
        raise UsageError("--cron and --webhook contradict each other", remedy="Make two jobs")
    scheduled = schedule.fields()
    api = connect()
    kind = "agent" if agent else "team"
    worker_queue = QueuesApi(api).find(queue)["name"] if queue else ""
    body = {
        "name": name,
        "prompt_template": prompt,
        "trigger_type": "cron" if schedule.cron is not None else "webhook" if webhook else "manual",
        "planning_mode": f"predefined_{kind}",
        "entity_type": kind,
        "entity_id": AgentApi(api).find(kind, str(agent or team))["id"],
        **scheduled,
        **({"executor_type": "specific_queue", "worker_queue_name": worker_queue} if worker_queue else {}),
    }
    created = JobsApi(api).create(body)
    if as_json:
        print(json.dumps(created, ensure_ascii=False))
        return
    print(f"created: {one_line(str(created.get('name')), 60)}, job {created.get('id')}")
    if created.get("webhook_url"):
        print(f"webhook: {created['webhook_url']}")
    if created.get("webhook_secret"):
        print(f"secret:  {created['webhook_secret']}  (it is not shown again)")


@jobs.command()
@click.argument("job", shell_complete=completion.names("jobs"))
@click.option(
    "-p", "--parameter", "given", multiple=True, metavar="NAME=VALUE", help="A value for {{NAME}} in the prompt."
)
@reason.option()
def trigger(job: str, given: tuple[str, ...]) -> None:
    """Start a job now. Prints only the execution's id when the output is not a terminal.

    Example: kubiya jobs trigger 'disks every morning'
    """
    parameters = _parameters(given)
    api = connect()
    jobs_api = JobsApi(api)
    started = jobs_api.trigger(str(jobs_api.find(job)["id"]), parameters)
    runs.started(api, started, watched=False)


@jobs.command()
@click.argument("job", shell_complete=completion.names("jobs"))
@reason.option()
def enable(job: str) -> None:
    """Enable a job, so that it can start again.

    Example: kubiya jobs enable 'disks every morning'
    """
    _switch(job, "enable")


@jobs.command()
@click.argument("job", shell_complete=completion.names("jobs"))
@reason.option()
def disable(job: str) -> None:
    """Disable a job: nothing starts it until it is enabled.

    Example: kubiya jobs disable 'disks every morning'
    """
    _switch(job, "disable")


def _switch(job: str, word: str) -> None:
    jobs = JobsApi(connect())
    chosen = jobs.find(job)
    jobs.switch(str(chosen["id"]), word)
    print(f"{word}d: {one_line(str(chosen.get('name')), 60)}")


@jobs.command()
@click.argument("job", shell_complete=completion.names("jobs"))
@reason.option()
def rm(job: str) -> None:
    """Remove a job. Its executions are kept.

    Example: kubiya jobs rm 'disks every morning'
    """
    jobs_api = JobsApi(connect())
    chosen = jobs_api.find(job)
    jobs_api.delete(str(chosen["id"]))
    print(f"removed: {one_line(str(chosen.get('name')), 60)}")


jobs.add_command(kinds.commands_of(kinds.NOUNS["jobs"])["get"], "get")
jobs.add_command(kinds.commands_of(kinds.NOUNS["jobs"])["edit"], "edit")
