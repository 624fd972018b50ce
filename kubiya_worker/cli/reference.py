"""The command line in other forms: a Markdown page and a man page, made from the commands themselves."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass

import click

from kubiya_worker.cli.lazy_group import LazyGroup
from kubiya_worker.cli.main import cli
from kubiya_worker.errors import EXIT_CODES
from kubiya_worker.settings.table import OPTIONS

NAME = "kubiya"
# Variables that the commands read and that are not settings of a worker.
OF_COMMANDS = (
    ("KUBIYA_CONFIG", "The Kubiya CLI's own configuration (~/.kubiya/config): key and URL where none is given"),
    ("KUBIYA_NON_INTERACTIVE", "true: kubiya exec asks no questions, as without a terminal"),
)


@dataclass(frozen=True)
class CommandEntry:
    """One command. `arguments` is written as in a usage line; `options` are (`-q, --queue TEXT`, help text)."""

    path: str
    arguments: str
    help: str
    options: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]


def entries() -> list[CommandEntry]:
    """Return every command that is not hidden; a group comes before its commands."""
    return [_entry(context) for context in _walk(click.Context(cli, info_name=NAME))]


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    for name, command in _children(context):
        yield from _walk(click.Context(command, info_name=name, parent=context))


def _children(context: click.Context) -> list[tuple[str, click.Command]]:
    group = context.command
    if not isinstance(group, click.Group):
        return []
    commands = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [(name, command) for name, command in commands if command is not None and not command.hidden]


def _entry(context: click.Context) -> CommandEntry:
    command = context.command
    arguments = " ".join(command.collect_usage_pieces(context))
    shown = [p for p in command.get_params(context) if isinstance(p, click.Option) and "--help" not in p.opts]
    records = [p.get_help_record(context) for p in shown]
    options = [(names, _one_line(text)) for names, text in filter(None, records)]
    if context.command_path == "kubiya server start":
        arguments, options = "[OPTIONS] [create-key]", _options_of_the_server()
    children = [(name, _short(command, name, child)) for name, child in _children(context)]
    return CommandEntry(
        context.command_path, arguments, _paragraphs(command.help or ""), tuple(options), tuple(children)
    )


def _short(group: click.Command, name: str, child: click.Command) -> str:
    return group.known_help(name) if isinstance(group, LazyGroup) else child.get_short_help_str(200)


def _options_of_the_server() -> list[tuple[str, str]]:
    """Return the options of `kubiya server start`, which becomes another program with its own parser."""
    from kubiya_worker.server.command_line import parser

    server_parser = parser("~/.kubiya/server")
    lines = []
    for action in server_parser._actions:
        if action.option_strings and not isinstance(action, argparse._HelpAction):
            metavar = "" if action.nargs == 0 else f" {action.dest.upper()}"
            lines.append(
                (", ".join(action.option_strings) + metavar, server_parser._get_formatter()._expand_help(action))
            )
    return lines


def _paragraphs(text: str) -> str:
    return "\n\n".join(_one_line(part) for part in re.split(r"\n\s*\n", text.strip()))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def markdown() -> str:
    """Return a Markdown page of all commands, with usage and options."""
    parts = []
    for entry in entries():
        parts.append(f"{'#' * len(entry.path.split())} {entry.path}" if entry.path != NAME else "")
        parts.append(f"```\n{entry.path} {entry.arguments}\n```\n\n{entry.help}")
        if entry.commands:
            rows = [f"| [`{name}`](#{_anchor(entry.path, name)}) | {_cell(text)} |" for name, text in entry.commands]
            parts.append("\n".join(["| command | |", "|---|---|", *rows]))
        if entry.options:
            rows = [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in entry.options]
            parts.append("\n".join(["| option | |", "|---|---|", *rows]))
    return "\n\n".join(filter(None, parts)) + "\n"


def _anchor(path: str, name: str) -> str:
    return f"{path} {name}".replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def man(version: str) -> str:
    """Return the man page `kubiya(1)`, for groff's man macros."""
    lines = [
        '.\\" Written by scripts/docs from the commands themselves.',
        f'.TH KUBIYA 1 "" "Kubiya Worker {version}" "User Commands"',
        ".SH NAME",
        "kubiya \\- AI agents as durable Temporal workflows on your own hosts",
        ".SH SYNOPSIS",
        ".B kubiya\n.I command\n[options]",
        ".SH DESCRIPTION",
        _roff("Starts and manages workers that run AI agents and teams of agents, gives agents tasks, answers their "),
        _roff("requests for approval, and runs a whole stack on this machine for trying. Every command has --help."),
        ".SH COMMANDS",
    ]
    for entry in entries():
        if entry.commands:
            continue
        lines += [f".SS {_roff(entry.path)} {_roff(entry.arguments)}", _roff(entry.help).replace("\n\n", "\n.PP\n")]
        for names, text in entry.options:
            lines += [".TP", f".B {_roff(names)}", _roff(text)]
    lines += [".SH ENVIRONMENT", "A flag wins over a variable, a variable over the configuration file."]
    for option in OPTIONS:
        if option.env:
            lines += [".TP", f".B {_roff(', '.join(option.env))}", _roff(option.help)]
    for name, text in OF_COMMANDS:
        lines += [".TP", f".B {name}", _roff(text)]
    lines += [
        ".SH FILES",
        ".TP\n.I ~/.kubiya/worker\\-config.yaml\nThe configuration file; kubiya config init writes one with every key.",
        ".TP\n.I ~/.kubiya/workers/<queue>/\nA worker's folder: PID file, log, environment, workspaces.",
        ".TP\n.I ~/.kubiya/dev/\nThe local stack of kubiya dev; env in it prepares a shell.",
        ".SH EXIT STATUS",
    ]
    for code in EXIT_CODES:
        lines += [".TP", f".B {code.code}", _roff(code.meaning)]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """Escape plain text for groff, so that it holds no request and its minus signs can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)
