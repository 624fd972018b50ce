"""`kubiya runs`: executions of agents and teams: list, show, watch, talk to, cancel, start again, fork, export."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from kubiya_worker.cli import completion, reason, run_transcript, tables
from kubiya_worker.cli.api.agents import AgentApi
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.api.runs import RunApi, id_for_filter
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.exec import WatchOptions, follow, read_prompt, watch_options
from kubiya_worker.cli.moments import age, clock, moment, took
from kubiya_worker.cli.render import arguments_text, duration
from kubiya_worker.cli.run_log import EventLog
from kubiya_worker.cli.run_steps import APPROVAL, TOOL, steps_of
from kubiya_worker.cli.tables import Cells, Row, field
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.errors import UsageError

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
EVERYTHING: Final = 10**9
SHORT: Final = 8  # characters of an id in a table, if they tell the rows apart


def _tokens(row: Row) -> str:
    total = int((row.get("usage") or {}).get("total_tokens") or 0)
    return f"{total:,}" if total else ""


def _cost(row: Row) -> str:
    cost = (row.get("usage") or {}).get("cost_usd")
    return f"${cost:.4f}" if cost else ""


def _person(row: Row) -> str:
    by = row.get("requested_by") or {}
    return str(by.get("name") or by.get("email") or row.get("user_email") or "")


def _columns(rows: list[dict[str, Any]], *, wide: bool) -> list[Cells]:
    short = next(n for n in (*range(SHORT, 36), 200) if len({str(r.get("id"))[:n] for r in rows}) == len(rows))
    return [
        Cells("ID", lambda row: str(row.get("id")) if wide else str(row.get("id"))[:short], 60),
        field("status", most=17),
        field("entity_name", "AGENT", 24),
        field("runner_name", "QUEUE", 20, wide=True),
        Cells("PERSON", _person, 24, wide=True),
        Cells("AGE", lambda row: age(row.get("created_at"))),
        Cells("BEGAN", lambda row: clock(row.get("created_at")), wide=True),
        Cells("TOOK", took),
        Cells("TOKENS", _tokens),
        Cells("COST", _cost),
        field("prompt", most=60),
    ]


@click.group(context_settings=SETTINGS)
def runs() -> None:
    """List, show, watch and control executions. ID may be the beginning of an id."""


@runs.command()
@click.option("--status", help="With this status, or with one of several: failed,cancelled.")
@click.option("--agent", shell_complete=completion.names("agents", "teams"), help="Of an agent or a team.")
@click.option("--queue", shell_complete=completion.names("queues"), help="On a worker queue.")
@click.option("--person", help="Asked for by a person: the e-mail; `me` is you.")
@click.option("--text", help="With this text in the prompt, in the agent's name, or at the beginning of the id.")
@click.option("--since", metavar="TIME", help="From a time on: 30m, 2h, 7d, or 2026-11-28T12:00.")
@click.option("--until", metavar="TIME", help="Before a time.")
@click.option("--waits", is_flag=True, help="Only those with an open request to a person.")
@click.option("--oldest", is_flag=True, help="The oldest first.")
@click.option("-n", "--limit", type=click.IntRange(1), default=30, show_default=True, help="How many, at most.")
@click.option("-a", "--all", "everything", is_flag=True, help="All of them.")
@click.option("--cursor", default="", help="Go on behind an earlier list.")
@tables.output()
def ls(
    limit: int,
    everything: bool,
    cursor: str,
    waits: bool,
    oldest: bool,
    since: str | None,
    until: str | None,
    output: str,
    **filters: str | None,
) -> None:
    """List executions, newest first.

    Example: kubiya runs ls --status failed --since 24h -o wide
    """
    now = datetime.now(UTC)
    wanted = {name: value or "" for name, value in filters.items()}
    wanted |= {name: moment(text, now) for name, text in (("since", since), ("until", until)) if text}
    wanted |= {"waits": "true"} if waits else {}
    wanted |= {"order": "oldest"} if oldest else {}
    api = connect()
    for name, find in (("queue", QueuesApi(api).find), ("agent", AgentApi(api).find_any)):
        wanted[name] = id_for_filter(wanted[name], find)
    listed: list[dict[str, Any]] = []
    following: str | None = None
    for page, place in RunApi(api).pages(wanted, EVERYTHING if everything else limit, cursor):
        listed, following = [*listed, *page], place
    tables.show(listed, _columns(listed, wide=output == tables.WIDE), output, none="No execution fits.")
    if following:
        print(f"There may be more: --limit, --all, or --cursor {following}", file=sys.stderr)


@runs.command()
@click.argument("id", shell_complete=completion.runs)
@tables.output()
def show(id: str, output: str) -> None:
    """Show an execution: what it is, its steps with tokens, cost and times, and its answer.

    Example: kubiya runs show 3f2a -o wide
    """
    api = RunApi(connect())
    run = api.find(id)
    steps = steps_of(api.events(str(run["id"])))
    if output in (tables.JSON, tables.YAML):
        tables.dump({**run, "steps": [step.wire() for step in steps]}, output)
        return
    paint = Paint.for_stream(sys.stdout)
    for name, value in _facts(run):
        print(f"{paint.dim(f'{name:10}')}{value}")
    if steps:
        print()
        print(tables.table([vars(step) for step in steps], STEPS, wide=output == tables.WIDE, paint=paint))
    if run.get("response"):
        print(f"\n{run_transcript.plain(str(run['response']))}")


def _facts(run: Row) -> list[tuple[str, str]]:
    usage = run.get("usage") or {}
    cached = int(usage.get("cache_read_tokens") or 0)
    tokens = f"{_tokens(run)} ({int(usage.get('input_tokens') or 0):,} in, {int(usage.get('output_tokens') or 0):,} out"
    tokens += f", {cached:,} cached)" if cached else ")"
    metadata = run.get("execution_metadata") or {}
    facts = [
        ("id", run.get("id")),
        (str(run.get("execution_type") or "agent"), run.get("entity_name")),
        ("status", run.get("status")),
        ("error", run.get("error_message")),
        ("queue", run.get("runner_name")),
        ("person", _person(run)),
        ("job", metadata.get("job_name") or metadata.get("job_id")),
        ("retry of", metadata.get("retry_of")),
        ("fork of", metadata.get("fork_of") and f"{metadata['fork_of']}, from its step {metadata.get('fork_at')} on"),
        ("asked", clock(run.get("created_at"))),
        ("began", clock(run.get("started_at"))),
        ("ended", clock(run.get("completed_at"))),
        ("took", took(run)),
        ("tokens", tokens if _tokens(run) else ""),
        ("cost", _cost(run)),
        ("prompt", run.get("prompt")),
    ]
    return [(name, one_line(str(value), 500)) for name, value in facts if value]


def _content(row: Row) -> str:
    """Return a step's input or output on one line: what was asked of a tool, what a model or a person said."""
    if row["kind"] in (TOOL, APPROVAL):
        by = f" by {row['detail']['by']}" if row["detail"].get("by") else ""
        return f"{arguments_text(row['input'])}{by}"
    return str(row["output"])


STEPS: Final = (
    Cells("#", lambda row: str(row["number"] or "")),
    Cells("AT", lambda row: clock(row["at"])[11:19]),
    Cells("BEGAN", lambda row: clock(row["at"]), wide=True),
    field("kind", "STEP"),
    Cells("WHAT", lambda row: f"{row['member']}: {row['name']}" if row["member"] else row["name"], 30),
    field("outcome"),
    Cells("TOOK", lambda row: "" if row["seconds"] is None else duration(row["seconds"])),
    Cells("TOKENS", lambda row: f"{row['tokens']:,}" if row["tokens"] else ""),
    Cells("COST", lambda row: f"${row['cost_usd']:.4f}" if row["cost_usd"] else ""),
    Cells("INPUT OR TEXT", _content, 60),
    Cells("RESULT", lambda row: row["output"] if row["kind"] in (TOOL, APPROVAL) else "", 40, wide=True),
)


@runs.command()
@click.argument("id", shell_complete=completion.runs)
@watch_options
def watch(id: str, watch: WatchOptions) -> int:
    """Watch an execution until it is over, and answer what it asks. The exit codes are those of `kubiya exec`.

    Example: kubiya runs watch 3f2a
    """
    api = connect()
    return follow(api, str(RunApi(api).find(id)["id"]), watch)


@runs.command()
@click.argument("id", shell_complete=completion.runs)
@click.option("-f", "--follow", "live", is_flag=True, help="Go on until the execution is over.")
@click.option("-t", "--times", is_flag=True, help="Put the time before each line.")
@click.option("--full-output", is_flag=True, help="All of a tool's output.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def logs(id: str, live: bool, times: bool, full_output: bool, output: str) -> int:
    """Print what happened in an execution, from its beginning. It only reads: Ctrl-C leaves the execution alone.

    Example: kubiya runs logs -f 3f2a
    """
    api = RunApi(connect())
    run = api.find(id)
    log = EventLog(times=times, full=full_output, as_json=output == tables.JSON)
    return log.follow(api.api, run) if live else log.read(run, api.events(str(run["id"])))


@runs.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completion.runs)
@reason.option("Why; readers of the execution see it, and the audit record has it.", value="why")
def cancel(ids: tuple[str, ...], why: str) -> None:
    """Cancel executions: a model or a tool that works now is stopped.

    Example: kubiya runs cancel 3f2a --reason "wrong host"
    """
    api = RunApi(connect())
    for run in [api.find(each) for each in ids]:  # all are looked up before the first one is cancelled
        api.cancel(str(run["id"]), why)
        print(f"cancelled: {run['id']}, {one_line(str(run.get('entity_name')), 60)}")


@runs.command()
@click.argument("id", shell_complete=completion.runs)
@click.option("--queue", default="", shell_complete=completion.names("queues"), help="Another worker queue.")
@click.option("--watch/--no-watch", "watched", default=None, help="Watch the new one.  [default: on a terminal]")
@reason.option()
def retry(id: str, queue: str, watched: bool | None) -> int:
    """Start the same again as a new execution: prompt, model, settings; by the definitions of now.

    Prints only the new execution's id when the output is not a terminal.

    Example: kubiya runs retry 3f2a
    """
    api = connect()
    executions = RunApi(api)
    run_id = str(executions.find(id)["id"])
    answer = executions.retry(run_id, str(QueuesApi(api).find(queue)["id"]) if queue else "")
    return started(api, answer, watched=sys.stdout.isatty() if watched is None else watched)


@runs.command()
@click.argument("id", shell_complete=completion.runs)
@click.option(
    "--at", "step", metavar="STEP", type=click.IntRange(1), required=True, help="The step's number in `show`."
)
@click.option("--prompt", default="", help="Another message than the one that the step answers; - reads it.")
@click.option("--agent", default="", shell_complete=completion.names("agents"), help="Another agent goes on.")
@click.option("--model", default="", help="Another model goes on.")
@click.option("--queue", default="", shell_complete=completion.names("queues"), help="Another worker queue.")
@click.option("--watch/--no-watch", "watched", default=None, help="Watch the new one.  [default: on a terminal]")
@reason.option()
def fork(id: str, step: int, prompt: str, agent: str, model: str, queue: str, watched: bool | None) -> int:
    """Run again from a step on, as a new execution that shares the conversation up to it.

    The step is done anew; a tool's step, with the answer of the model that asked for it. Prints only the new
    execution's id when the output is not a terminal.

    Example: kubiya runs fork 3f2a --at 7 --prompt "Only on web-1."
    """
    text = read_prompt(prompt) if prompt else ""
    api = connect()
    executions = RunApi(api)
    run_id = str(executions.find(id)["id"])
    on = str(QueuesApi(api).find(queue)["id"]) if queue else ""
    answer = executions.fork(run_id, step, prompt=text, agent=agent, model_id=model, worker_queue_id=on)
    return started(api, answer, watched=sys.stdout.isatty() if watched is None else watched)


@runs.command()
@click.argument("id", shell_complete=completion.runs)
@click.argument("text")
@click.option("--watch/--no-watch", "watched", default=None, help="Watch the execution.  [default: on a terminal]")
@reason.option()
def say(id: str, text: str, watched: bool | None) -> int:
    """Say TEXT to an execution (`-`: read it from standard input). One that is over goes on with it, under the same id.

    Example: kubiya runs say 3f2a "And on the other host?"
    """
    message = read_prompt(text)
    api = connect()
    executions = RunApi(api)
    run = executions.find(id)
    answer = executions.say(str(run["id"]), message)
    if sys.stdout.isatty() if watched is None else watched:
        return follow(api, str(run["id"]), after=int(answer.get("last_sequence") or 0))
    print(f"{answer.get('message') or 'sent'}: {run['id']}, {one_line(str(run.get('entity_name')), 60)}")
    return 0


def started(api: Api, answer: Row, *, watched: bool) -> int:
    """Say which execution was started and where a page shows it, and watch it if that is wanted."""
    execution_id = str(answer.get("execution_id"))
    if watched:
        announce(api, answer)
        return follow(api, execution_id)
    print(execution_id)
    announce(api, answer)
    if sys.stdout.isatty():
        print(f"Watch it: kubiya runs watch {execution_id}", file=sys.stderr)
    return 0


def announce(api: Api, answer: Row) -> None:
    """Print the address of the page of an execution that was started, where the control plane has such a page."""
    if answer.get("page"):
        paint = Paint.for_stream(sys.stderr)
        print(paint.dim(f"  {api.base_url}{one_line(str(answer['page']), 200)}"), file=sys.stderr)


@runs.command()
@click.argument("id", shell_complete=completion.runs)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--to", "folder", metavar="DIR", help="Download into this folder: the PATHs, or all files.")
@tables.output()
def files(id: str, paths: tuple[str, ...], folder: str | None, output: str) -> None:
    """List the files that an execution has made, or download them.

    One PATH without --to is written to standard output.

    Example: kubiya runs files 3f2a --to results/
    """
    from kubiya_worker.cli import run_files  # most commands need none of it

    api = RunApi(connect())
    execution_id = str(api.find(id)["id"])
    stored = list(api.api.ask("GET", f"/executions/{quote(execution_id, safe='')}/files"))
    if not paths and folder is None:
        tables.show(stored, run_files.COLUMNS, output, none="It has no files.")
        return
    chosen = run_files.chosen(stored, paths)
    if folder is None:
        if len(chosen) > 1:
            raise UsageError("Several files go into a folder", remedy="Give --to DIR")
        run_files.to_output(api.api, execution_id, chosen[0])
        return
    for line in run_files.download(api.api, execution_id, chosen, Path(folder).expanduser()):
        print(line, file=sys.stderr)


@runs.command()
@click.argument("id", shell_complete=completion.runs)
@click.argument("file", required=False, shell_complete=completion.files)
@click.option(
    "-o", "--output", type=click.Choice(["markdown", "json"]), help="Form.  [default: by the file's name, or markdown]"
)
@click.option("--as-test", is_flag=True, help="Write a test that `kubiya test` plays, as YAML (or JSON).")
@click.option("--as-trace", is_flag=True, help="Write its trace, as OTLP JSON for a collector.")
def export(id: str, file: str | None, output: str | None, as_test: bool, as_trace: bool) -> None:
    """Write an execution's transcript to FILE, or to standard output: messages, tools with output, decisions, answer.

    With --as-test it is a recorded run: definitions, the model's answers, the tools' results, decisions, expectations.
    With --as-trace it is the trace that its workers would have sent with tracing on, without texts and arguments.

    Example: kubiya runs export 3f2a incident.md
    """
    api = RunApi(connect())
    run = api.find(id)
    if as_trace:
        if as_test or output == "markdown":
            raise UsageError("--as-trace writes OTLP JSON alone", remedy="Leave --as-test and -o out")
        from kubiya_worker.tracing import otlp_json, rebuilt  # other commands need nothing of it

        placed = rebuilt.spans_of(run, api.events(str(run["id"])))
        _write(file, json.dumps(otlp_json.document(placed), ensure_ascii=False), f"{len(placed)} spans")
        return
    if as_test:
        if output == "markdown":
            raise UsageError("--as-test writes YAML or JSON, not Markdown", remedy="Leave -o out")
        from kubiya_worker.cli import run_test_record  # imports a parser of YAML, which other commands do not need

        json_wanted = output == tables.JSON or bool(file and file.endswith(".json"))
        name = Path(file).stem if file else f"run {str(run['id'])[:8]}"
        _write(file, run_test_record.text_of(api, run, name, as_json=json_wanted), f"a test of {run['id']}")
        return
    steps = steps_of(api.events(str(run["id"])))
    form = output or (tables.JSON if file and file.endswith(".json") else "markdown")
    if form == tables.JSON:
        text = json.dumps({"execution": run, "steps": [step.wire() for step in steps]}, ensure_ascii=False, indent=1)
    else:
        text = run_transcript.markdown(run, steps)
    _write(file, text, f"{len(steps)} steps")


def _write(file: str | None, text: str, label: str) -> None:
    """Write a text to a file and say so, or to standard output."""
    if file is None:
        print(text)
        return
    try:
        Path(file).expanduser().write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}", remedy="Check the folder and the disk"
        ) from error
    print(f"{label}: {file}", file=sys.stderr)
