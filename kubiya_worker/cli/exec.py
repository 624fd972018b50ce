"""`kubiya exec`: give an agent or a team a task and watch it work.

Exit codes, of this command and of `kubiya exec attach`:

      0  completed
      1  failed, or ended by somebody else (cancelled, interrupted, terminated)
     64  the command line is wrong; there is no such agent, team or execution; the prompt is empty or too long
     69  the control plane cannot be reached
     75  the execution goes on without being watched: detached, --timeout, --no-wait, it waits for input
     77  the API key is wrong or missing
     78  the control plane refuses the request
    130  cancelled with Ctrl-C

When standard output is not a terminal, it gets only the answer; progress goes to standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from kubiya_worker.cli import completion, reason
from kubiya_worker.cli.api.agents import AgentApi
from kubiya_worker.cli.api.executions import ExecutionsApi
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.api.runs import RunApi
from kubiya_worker.cli.approval_reply import ASK, DENY, GRANT
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.grouped_options import grouped
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.cli.watch import ExecutionWatch, Manner
from kubiya_worker.errors import ConfigurationError, UsageError
from kubiya_worker.settings.value_types import boolean, seconds

QUEUE: Final = "Worker queue, by id or name.  [default: an active one with a worker]"
PROMPT_BYTES: Final = 1_000_000  # Temporal takes 2 MB in one payload; the workflow's input holds more than the prompt


@dataclass(frozen=True)
class WatchOptions:
    """The options of the commands that watch an execution, as they are typed."""

    output: str = "text"
    approve: bool = False
    deny: bool = False
    no_wait: bool = False
    stream: bool | None = None  # None: on a terminal
    interactive: bool = False
    timeout: str | None = None
    verbose: bool = False
    output_lines: int = 10
    full_output: bool = False


watch_options: Final = grouped(
    "watch",
    WatchOptions,
    click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Output format.",
    ),
    click.option("--approve", is_flag=True, help="Grant every approval that is asked for."),
    click.option("--deny", is_flag=True, help="Deny every approval that is asked for."),
    click.option("--no-wait", is_flag=True, help="Exit with 75 when a person has to approve first."),
    click.option(
        "--stream/--no-stream", default=None, help="Show the answer while it is written.  [default: on a terminal]"
    ),
    click.option(
        "-i", "--interactive", is_flag=True, help="Continue the conversation after the answer; /done ends it."
    ),
    click.option("--timeout", help="Exit with 75 after this time, such as 90, 5m or 1h."),
    click.option("-v", "--verbose", is_flag=True, help="Show thinking, whole commands and the output of tools."),
    click.option(
        "--output-lines",
        type=click.IntRange(0),
        default=10,
        show_default=True,
        help="With -v: the number of lines of a tool's output.",
    ),
    click.option("--full-output", is_flag=True, help="With -v: all of a tool's output."),
)


def _manner_of(watch: WatchOptions, *, keyboard: bool) -> Manner:
    """Return how an execution is watched. `keyboard` says whether a person can be asked."""
    if watch.approve and watch.deny:
        raise UsageError("--approve and --deny contradict each other", remedy="Give one of them")
    try:
        limit = seconds(0, 366 * 86400)(watch.timeout) if watch.timeout is not None else None
    except ValueError as error:
        raise UsageError(
            f"--timeout {watch.timeout!r} is not {error}", remedy="Leave it out to wait without a limit"
        ) from error
    if watch.interactive and not keyboard:
        raise UsageError("--interactive needs a terminal", remedy="Leave it out, or use the API's /message")
    return Manner(
        approvals=GRANT if watch.approve else DENY if watch.deny else ASK,
        as_json=watch.output == "json",
        live=(sys.stdout.isatty() if watch.stream is None else watch.stream) and watch.output == "text",
        verbose=watch.verbose,
        output_lines=None if watch.full_output else watch.output_lines,
        chat=watch.interactive,
        wait_for_approval=not watch.no_wait,
        timeout=limit,
        keyboard=keyboard,
    )


def read_prompt(argument: str) -> str:
    """Return the prompt; `-` reads it from standard input. Raises UsageError when it is empty or too long."""
    text = argument
    if argument == "-":
        data = sys.stdin.buffer.read(PROMPT_BYTES + 1)
        text = data.decode(errors="replace")
    size = len(text.encode(errors="surrogateescape"))
    if size > PROMPT_BYTES:
        raise UsageError(
            f"The prompt has {'more than ' if argument == '-' else ''}{size / 1e6:.1f} MB, the limit is 1 MB",
            remedy="Put the data into a file and tell the agent where it is",
        )
    if not text.strip():
        raise UsageError("The prompt is empty", remedy='Say what to do: kubiya exec agent NAME "…"')
    return text.encode(errors="surrogateescape").decode(errors="replace")


def has_keyboard(environ: Mapping[str, str]) -> bool:
    """Return whether a person can be asked. KUBIYA_NON_INTERACTIVE forbids questions, even on a terminal."""
    quiet = environ.get("KUBIYA_NON_INTERACTIVE", "").strip()
    try:
        return not boolean(quiet) and sys.stdin.isatty()
    except ValueError as error:
        raise ConfigurationError(
            f"KUBIYA_NON_INTERACTIVE {quiet!r} is not {error}", remedy="Unset it to be asked at a terminal"
        ) from error


@click.group(name="exec", context_settings={"help_option_names": ["-h", "--help"]})
def exec_() -> None:
    """Run an agent or a team on a task and watch it."""


@dataclass(frozen=True)
class TaskOptions:
    """The options of a task, the same for an agent and a team."""

    queue: str | None
    cwd: str | None
    priority: int | None
    model: str | None


task_options: Final = grouped(
    "task",
    TaskOptions,
    click.option("--queue", shell_complete=completion.names("queues"), help=QUEUE),
    click.option("--cwd", help="Folder on the worker's host to work in."),
    click.option(
        "--priority",
        type=click.IntRange(1, 5),
        help="Its place where steps wait for a slot: 1 is first.  [default: 3]",
    ),
    click.option("--model", help="Another model for this execution; of a team, for its leader."),
    reason.option(),
)


@exec_.command(short_help="Give an agent a task and watch it.")
@click.argument("name_or_id", shell_complete=completion.names("agents"))
@click.argument("prompt")
@task_options
@watch_options
def agent(name_or_id: str, prompt: str, task: TaskOptions, watch: WatchOptions) -> int:
    """Let the agent NAME_OR_ID work on PROMPT (`-`: read it from standard input).

    Example: kubiya exec agent ops "What fills the disk under /var/log?"
    """
    return _execute("agent", name_or_id, prompt, task, watch)


@exec_.command(short_help="Give a team a task and watch it.")
@click.argument("name_or_id", shell_complete=completion.names("teams"))
@click.argument("prompt")
@task_options
@watch_options
def team(name_or_id: str, prompt: str, task: TaskOptions, watch: WatchOptions) -> int:
    """Let the team NAME_OR_ID work on PROMPT (`-`: read it from standard input).

    Example: kubiya exec team triage "Why is the service slow?"
    """
    return _execute("team", name_or_id, prompt, task, watch)


def _execute(kind: str, name_or_id: str, prompt: str, task: TaskOptions, watch: WatchOptions) -> int:
    text = read_prompt(prompt)
    manner = _manner_of(watch, keyboard=prompt != "-" and has_keyboard(os.environ))
    api = connect()
    started_at = time.monotonic()
    entity = AgentApi(api).find(kind, name_or_id)
    body: dict[str, Any] = {
        "prompt": text,
        "stream": True,
        "execution_metadata": {"source": "cli", "interactive": manner.chat},
    }
    body |= {"worker_queue_id": QueuesApi(api).find(task.queue)["id"]} if task.queue else {}
    body |= {"execution_environment": {"working_dir": task.cwd}} if task.cwd else {}
    body |= {"model_id": task.model} if task.model else {}
    body |= {"priority": task.priority} if task.priority else {}
    answer = ExecutionsApi(api).start(kind, str(entity["id"]), body)
    if answer.get("page") and not manner.as_json:
        print(
            Paint.for_stream(sys.stderr).dim(f"  {api.base_url}{one_line(str(answer['page']), 200)}"), file=sys.stderr
        )
    return ExecutionWatch(api, str(answer["execution_id"]), manner, started_at).run()


@exec_.command(short_help="Watch an execution, or read one that is over.")
@click.argument("execution_id", shell_complete=completion.runs)
@watch_options
def attach(execution_id: str, watch: WatchOptions) -> int:
    """Watch a running execution, or read a finished one, from its beginning. The beginning of its id is enough.

    Example: kubiya exec attach 3f2a
    """
    api = connect()
    return follow(api, str(RunApi(api).find(execution_id)["id"]), watch)


def follow(api: Api, execution_id: str, watch: WatchOptions | None = None, *, after: int = 0) -> int:
    """Watch an execution with the options of a command, or with their defaults. Return the exit code.

    `after`: the number of the event behind which the watch begins.
    """
    manner = _manner_of(watch or WatchOptions(), keyboard=has_keyboard(os.environ))
    return ExecutionWatch(api, execution_id, manner, after=after).run()
