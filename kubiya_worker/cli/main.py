"""`kubiya`: the command line. Subcommands are imported when they are called, so that each starts fast."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import traceback
from typing import Any, NoReturn

if sys.version_info < (3, 11):  # noqa: UP036 - an older interpreter gets one line instead of a traceback
    sys.exit(f"kubiya: needs Python 3.11 or newer, this is {sys.version.split()[0]}. Install a newer Python")

import click

from kubiya_worker import __version__
from kubiya_worker.cli.lazy import LazyGroup
from kubiya_worker.cli.terminal import tolerate
from kubiya_worker.errors import EX_SOFTWARE, EX_TEMPFAIL, EX_USAGE, WorkerError

TEMPORAL = "temporalio.bridge.temporal_sdk_bridge"
COMMANDS = {
    "worker": ("kubiya_worker.cli.worker:worker", "Start and manage workers."),
    "dev": ("kubiya_worker.cli.dev:dev", "Run Temporal, a control plane and a worker on this machine."),
    "exec": ("kubiya_worker.cli.exec:exec_", "Run an agent or a team on a task and watch it."),
    "approvals": ("kubiya_worker.cli.approvals:approvals", "List and answer requests for approval."),
    "jobs": ("kubiya_worker.cli.jobs:jobs", "List, make and start jobs."),
    "models": ("kubiya_worker.cli.models:models", "List models, and try what one can do."),
    "mcp": ("kubiya_worker.cli.mcp:mcp_", "List MCP servers and try them without a run."),
    "config": ("kubiya_worker.cli.config:config", "Show, explain and check the settings."),
    "doctor": ("kubiya_worker.cli.doctor:doctor", "Examine this host and its connections, and say what mends them."),
    "server": ("kubiya_worker.cli.server:server", "Run the local control plane alone."),
    "completion": ("kubiya_worker.cli.completion:completion", "Print what completes kubiya in bash, zsh or fish."),
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
    if TEMPORAL in sys.modules:  # an interpreter that used Temporal's core can hang or crash at its exit
        from kubiya_worker.process.leaving import leave

        leave(code)
    sys.exit(code)


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
        click.echo(f"kubiya: {text}{'' if text.endswith(('.', '?', '?)')) else '.'}{_near(error)}{where}", err=True)
        return EX_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except WorkerError as error:
        click.echo(f"kubiya: {error.line()}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit:
        if sys.stdout is output:
            raise
        return _unread()  # click turns a closed pipe into exit code 1, which means "failed" here
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            return _bug(error)
        click.echo(f"kubiya: {error.strerror}: {error.filename or 'the output'} cannot be written", err=True)
        return EX_TEMPFAIL
    except Exception as error:
        return _bug(error)


def _bug(error: Exception) -> int:
    if os.environ.get("KUBIYA_DEBUG"):
        traceback.print_exc()
    click.echo(f"kubiya: {type(error).__name__}: {error}. Set KUBIYA_DEBUG=true for the traceback", err=True)
    return EX_SOFTWARE


def _near(error: click.UsageError) -> str:
    """Return similar command names for an unknown command."""
    group = error.ctx.command if error.ctx else None
    typed = re.match(r"No such command '(.*)'", error.format_message())
    if not (typed and error.ctx and isinstance(group, click.Group)):
        return ""
    known = group.list_commands(error.ctx)
    near = difflib.get_close_matches(typed[1], known, 1)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(known)}."


def _unread() -> int:
    """Return 128 + SIGPIPE, as a shell does, because the reader of our output has gone. Later output is discarded."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    return 141


if __name__ == "__main__":
    main()
