"""`kubiya`: the command line. Subcommands are imported when they are called, so that each starts fast."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import threading
import traceback
from typing import Any, Final, NoReturn

if sys.version_info < (3, 11):  # noqa: UP036 - an older interpreter gets one line instead of a traceback
    sys.exit(f"kubiya: needs Python 3.11 or newer, this is {sys.version.split()[0]}. Install a newer Python")

import click

from kubiya_worker import __version__
from kubiya_worker.cli import failure
from kubiya_worker.cli.lazy_group import LazyGroup
from kubiya_worker.cli.terminal import tolerate
from kubiya_worker.errors import EX_CONFIG, EX_SOFTWARE, EX_TEMPFAIL, EX_USAGE, WorkerError

MAKE: Final = frozenset({"create", "add", "new", "make"})
# Words that people of other tools type, by meaning: a group has one of each line.
SAME: Final = (
    frozenset({"ls", "list"}),
    frozenset({"get", "show", "describe", "info"}),
    frozenset({"rm", "delete", "remove", "del"}),
    frozenset({"trigger", "start", "run"}),
    frozenset({"edit", "update", "change"}),
    MAKE,
)
# What is wrong with a path that a person has given, or with a folder of this host: no fault of the program.
OF_A_PATH: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
)
TEMPORAL = "temporalio.bridge.temporal_sdk_bridge"
COMMANDS = {
    "worker": ("kubiya_worker.cli.worker:worker", "Start and manage workers."),
    "dev": ("kubiya_worker.cli.dev:dev", "Run Temporal, a control plane and a worker on this machine."),
    "exec": ("kubiya_worker.cli.exec:exec_", "Run an agent or a team on a task and watch it."),
    "runs": ("kubiya_worker.cli.runs:runs", "List, show, watch, cancel and repeat executions."),
    "test": ("kubiya_worker.cli.run_tests:test", "Play recorded runs again, and show what differs."),
    "agents": ("kubiya_worker.cli.kinds:agents", "List, show, edit and remove agents."),
    "skills": ("kubiya_worker.cli.kinds:skills", "List, show, edit and remove skills that agents name."),
    "teams": ("kubiya_worker.cli.kinds:teams", "List, show, edit and remove teams."),
    "queues": ("kubiya_worker.cli.kinds:queues", "List, show, edit and remove worker queues."),
    "rules": ("kubiya_worker.cli.kinds:rules", "List, show, edit and remove approval rules."),
    "environments": ("kubiya_worker.cli.kinds:environments", "List, show, edit and remove environments."),
    "init": ("kubiya_worker.cli.init:init", "Write an example of an agent, a rule and a job to a file."),
    "explain": ("kubiya_worker.cli.explain:explain", "Explain what each field of a definition is for."),
    "apply": ("kubiya_worker.cli.apply:apply", "Make agents, teams, rules, queues and jobs as files say."),
    "diff": ("kubiya_worker.cli.apply:diff", "Show what apply would change."),
    "get": (
        "kubiya_worker.cli.definitions:get",
        "Show definitions of one kind, or one of them.",
    ),
    "export": ("kubiya_worker.cli.definitions:export", "Print all definitions as documents for apply."),
    "delete": ("kubiya_worker.cli.definitions:delete", "Delete an agent, skill, rule, queue or another definition."),
    "history": ("kubiya_worker.cli.definitions:history", "List the versions of a definition."),
    "rollback": ("kubiya_worker.cli.definitions:rollback", "Make a definition as it was in a version."),
    "approvals": ("kubiya_worker.cli.approvals:approvals", "List and answer requests for approval."),
    "workers": ("kubiya_worker.cli.workers:workers", "List, drain and restart workers of any host."),
    "keys": ("kubiya_worker.cli.keys:keys", "Create, list, change and revoke API keys."),
    "secrets": ("kubiya_worker.cli.secrets:secrets", "Set, list and remove secrets that agents use."),
    "stop-all": ("kubiya_worker.cli.stop_all:stop_all", "Stop every agent at once, or let them go on."),
    "audit": ("kubiya_worker.cli.audit:audit", "Show and check the records of decisions and changes."),
    "jobs": ("kubiya_worker.cli.jobs:jobs", "List, make and start jobs."),
    "notifications": (
        "kubiya_worker.cli.notifications:notifications",
        "List, show, edit, remove and test notifications.",
    ),
    "hooks": ("kubiya_worker.cli.hooks:hooks", "List and try hooks, by which alerts start agents."),
    "models": ("kubiya_worker.cli.models:models", "List models, and test what a model can do."),
    "mcp": ("kubiya_worker.cli.mcp:mcp_", "List, edit and remove MCP servers, and try them."),
    "config": ("kubiya_worker.cli.config:config", "Show, explain and check the settings."),
    "doctor": (
        "kubiya_worker.cli.doctor:doctor",
        "Check this host and its connections, and say how to repair what is wrong.",
    ),
    "server": ("kubiya_worker.cli.server:server", "Run the local control plane alone."),
    "uninstall": ("kubiya_worker.cli.uninstall:uninstall", "List what lies where on this host, and remove it."),
    "completion": ("kubiya_worker.cli.completion:completion", "Print the code for completion in bash, zsh or fish."),
}


@click.group(cls=LazyGroup, known=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kubiya")
def cli() -> None:
    """Kubiya Worker: AI agents as durable Temporal workflows on your own hosts."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line. An expected error becomes one line on stderr and a documented exit code."""
    for stream in (sys.stdout, sys.stderr):
        tolerate(stream)
    code = call(cli, sys.argv[1:] if argv is None else argv)
    if must_exit_at_once():
        from kubiya_worker.process.exit import exit_process

        exit_process(code)
    sys.exit(code)


def must_exit_at_once() -> bool:
    """Return True when the interpreter could hang or crash while it ends.

    It can after Temporal's core was used, and while a thread that nobody waits for still runs or imports.
    """
    return TEMPORAL in sys.modules or any(thread.daemon for thread in threading.enumerate())


def call(command: click.Command, argv: list[str], **context: Any) -> int:
    output = sys.stdout
    try:
        result = command.main(args=argv, prog_name="kubiya", standalone_mode=False, **context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EX_USAGE
    except click.UsageError as error:
        where = f" See '{error.ctx.command_path} --help'." if error.ctx else ""
        text = " ".join(error.format_message().split())
        stop = "" if text.endswith((".", "?", "?)")) else "."
        failure.tell(f"{text}{stop}{_suggestion(error)}{where}", EX_USAGE, argv)
        return EX_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except WorkerError as error:
        failure.tell_error(error, argv)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit:
        if sys.stdout is output:
            raise
        return _broken_pipe()  # click turns a closed pipe into exit code 1, which means "failed" here
    except BrokenPipeError:
        return _broken_pipe()
    except OSError as error:
        if error.errno in OF_A_PATH and error.filename:
            _traceback()
            text = f"{error.filename}: {error.strerror}. Check the path, its owner and its rights"
            failure.tell(text, EX_CONFIG, argv)
            return EX_CONFIG
        if error.errno != errno.ENOSPC:
            return _bug(error, argv)
        failure.tell(f"{error.strerror}: {error.filename or 'the output'} cannot be written", EX_TEMPFAIL, argv)
        return EX_TEMPFAIL
    except Exception as error:
        return _bug(error, argv)


def _traceback() -> None:
    if os.environ.get("KUBIYA_DEBUG"):
        traceback.print_exc()


def _bug(error: Exception, argv: list[str]) -> int:
    _traceback()
    failure.tell(f"{type(error).__name__}: {error}. Set KUBIYA_DEBUG=true for the traceback", EX_SOFTWARE, argv)
    return EX_SOFTWARE


def _suggestion(error: click.UsageError) -> str:
    """Return what may be meant by an unknown command: one of the same meaning, a similar one, or one of `worker`."""
    group = error.ctx.command if error.ctx else None
    typed = re.fullmatch(r"No such command '([^']*)'\.?", error.format_message())  # without click's own suggestion
    if not (typed and error.ctx and isinstance(group, click.Group)):
        return ""
    known = group.list_commands(error.ctx)
    near = [name for words in SAME if typed[1] in words for name in known if name in words]
    near = near or difflib.get_close_matches(typed[1], known, 1)
    if not near and group is cli and typed[1] in _commands_of_worker(error.ctx):
        near = [f"worker {typed[1]}"]
    if near:
        return f" Did you mean {near[0]!r}?"
    made_by_file = typed[1] in MAKE and {"edit", "get"} <= set(known)
    hint = " Write it in a file (kubiya init has an example) and run kubiya apply -f FILE." if made_by_file else ""
    return f"{hint} There are: {', '.join(known)}."


def _commands_of_worker(context: click.Context) -> list[str]:
    worker = cli.get_command(context, "worker")
    return worker.list_commands(context) if isinstance(worker, click.Group) else []


def _broken_pipe() -> int:
    """Return 128 + SIGPIPE, as a shell does, because the reader of our output has gone. Later output is discarded."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    return 141


if __name__ == "__main__":
    main()
