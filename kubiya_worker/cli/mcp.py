"""`kubiya mcp`: list MCP servers, test one without an execution, and be one that offers agents."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kubiya_worker import templates
from kubiya_worker.cli import completion, mcp_configured, mcp_definitions, tables
from kubiya_worker.cli.api.mcp_servers import McpServersApi
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.tables import field
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.errors import EX_CONFIG, EX_UNAVAILABLE, ConfigurationError, UsageError
from kubiya_worker.tools.redaction import Redactor

if TYPE_CHECKING:
    from kubiya_worker.tools.mcp.trial import ServerTrial

FILES: Final = (".json", ".yaml", ".yml")
FORMATS: Final = click.Choice(["text", "json"])
COLUMNS: Final = (
    *(field("server"), field("transport"), field("where", most=60), field("owners", most=40), field("state", most=60)),
    field("stored"),
)


@click.group(name="mcp", context_settings={"help_option_names": ["-h", "--help"]})
def mcp_() -> None:
    """List MCP servers, try them without a run, and offer agents to MCP clients."""


@mcp_.command()
@click.argument("file", required=False, shell_complete=completion.files)
@tables.output(default=tables.TEXT)
def ls(file: str | None, output: str) -> None:
    """List the stored servers and those of all agents, teams and environments, or of FILE ({"mcpServers": {...}}).

    Example: kubiya mcp ls
    """
    servers = mcp_configured.of_file(file, {}) if file else mcp_configured.of_all(connect())
    if output == "json":
        for each in servers:
            print(json.dumps(mcp_configured.row(each), ensure_ascii=False))
        return
    if output != tables.TEXT:
        tables.show([mcp_configured.row(each) for each in servers], COLUMNS, output, none="There are no MCP servers.")
        return
    if not servers:
        print("There are no MCP servers.", file=sys.stderr)
        return
    paint = Paint.for_stream(sys.stdout)
    for each in servers:
        row = mcp_configured.row(each)
        state = paint.dim(row["transport"]) if row["state"] == "on" else one_line(row["state"], 160)
        print(f"{paint.bold(one_line(each.name, 60))}  {state}")
        print(f"    {one_line(row['where'] or '-', 400)}  {paint.dim(one_line(', '.join(each.owners), 100))}")


@mcp_.command()
@click.argument("name", shell_complete=completion.names("mcp-servers"))
@click.option(
    "--agent", shell_complete=completion.names("agents"), help="The agent or team that has it, if several do."
)
@tables.output(default=tables.YAML)
def get(name: str, agent: str | None, output: str) -> None:
    """Show an MCP server: how it is reached, who has it, and whether its settings are right. Secrets are not shown.

    Example: kubiya mcp get tickets
    """
    (server,) = mcp_configured.select(mcp_configured.of_all(connect(), agent), name, {})
    tables.show_one(mcp_configured.row(server), COLUMNS, output)


@mcp_.command(name="test")
@click.argument("name", shell_complete=completion.names_or_files("mcp-servers"))
@click.option(
    "--agent", shell_complete=completion.names("agents"), help="The agent or team that has it, if several do."
)
@click.option("--server", "only", help="Of a FILE with several servers: the one to try.  [default: all]")
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="A value for `{{NAME}}`; without one, this shell's variable.",
)
@click.option("--call", "tool", help="Call this tool too; the call is real.")
@click.option("--arguments", default="{}", metavar="JSON", help="The tool's arguments, as JSON.  [default: {}]")
@click.option(
    "--queue",
    shell_complete=completion.names("queues"),
    help="Let a worker of this queue make the test, which gets the secrets too.  [default: made here]",
)
@click.option("-o", "--output", type=FORMATS, default="text", help="Output format.  [default: text]")
def test(
    name: str,
    agent: str | None,
    only: str | None,
    variables: tuple[str, ...],
    tool: str | None,
    arguments: str,
    queue: str | None,
    output: str,
) -> int:
    """Start an MCP server, stored or of an agent, team or environment, or those of FILE. Show tools, notices and time.

    This host makes the test, with its PATH and its network. With --queue a worker does, where executions run.

    Exit code 69 when one fails, 78 when its settings are wrong.

    Example: kubiya mcp test tickets
    """
    variable_values = _variables(variables)
    if queue and (tool or variables or arguments != "{}"):
        raise UsageError(
            "--queue calls no tool and takes no variables", remedy="Leave out --call, --arguments and --env"
        )
    is_file = Path(name).expanduser().is_file() or name.endswith(FILES)
    servers = (
        mcp_configured.of_file(name, variable_values)
        if is_file
        else mcp_configured.select(mcp_configured.of_all(connect(), agent), name, variable_values)
    )
    if only:
        servers = [each for each in servers if each.name == only]
        if not servers:
            raise UsageError(f"{name} has no server {only!r}", remedy="See 'kubiya mcp ls FILE'")
    if not servers:
        raise UsageError(f"{name} has no MCP servers", remedy='Write {"mcpServers": {"NAME": {"command": "..."}}}')
    if queue and is_file:
        raise UsageError("--queue is for servers that the control plane knows", remedy="Leave it out for a file")
    codes: set[int] = set()
    api = connect() if queue else None
    on = str(QueuesApi(api).find(queue)["name"]) if api and queue else ""
    for each in servers:
        outcome = _on_worker(api, each, on) if api else _here(each, tool or "", arguments)
        codes.add(0 if outcome["ok"] else EX_UNAVAILABLE if outcome.get("transport") else EX_CONFIG)
        if output == "json":
            print(json.dumps(outcome, ensure_ascii=False), flush=True)
        else:
            _print_trial(outcome)
    return max(codes)


@mcp_.command()
@click.option("--agent", "agents", multiple=True, help="Offer this agent, by name or id; may be repeated.")
@click.option("--team", "teams", multiple=True, help="Offer this team, by name or id; may be repeated.")
def serve(agents: tuple[str, ...], teams: tuple[str, ...]) -> None:
    """Offer agents and teams as tools to an MCP client that starts this command (stdio).

    Without --agent and --team all are offered. The client's configuration is: {"mcpServers": {"kubiya": {"command":
    "kubiya", "args": ["mcp", "serve"]}}}.

    Example: kubiya mcp serve --agent ops
    """
    try:
        from kubiya_worker.cli.mcp_stdio import run
    except ImportError:
        raise ConfigurationError(
            "kubiya mcp serve needs the package `mcp`", remedy="Install it with: pip install 'kubiya-worker[mcp]'"
        ) from None
    run(connect(), agents, teams)


def _on_worker(api: Api, each: mcp_configured.Configured, queue: str) -> dict[str, Any]:
    about = {"queue": queue} | ({} if each.stored else {"mcp_server": each.name})
    outcome = McpServersApi(api).try_on_worker(each.tested_at, about)
    return {"server": each.name, "transport": "", "tools": [], "notices": [], "instructions": None, **outcome}


def _here(each: mcp_configured.Configured, tool: str, arguments: str) -> dict[str, Any]:
    trial, redactor = _try(each, tool, arguments)
    outcome = redactor.value(trial.wire())
    secrets = sorted(templates.secrets_in(each.raw)) if each.tested_at and not outcome["ok"] else []
    if secrets:
        command = f"kubiya mcp test {each.name} --queue QUEUE"
        notice = f"This host is given no secrets ({', '.join(secrets)}); a worker is: {command}"
        outcome["notices"] = [*outcome["notices"], notice]
    return {**outcome, "queue": None, "host": socket.gethostname()}


def _try(each: mcp_configured.Configured, tool: str, arguments: str) -> tuple[ServerTrial, Redactor]:
    from kubiya_worker.tools import secret_values
    from kubiya_worker.tools.mcp.trial import ServerTrial, try_server  # loads the sessions with servers

    try:
        server = each.parsed()
        if server is None:
            return ServerTrial(each.name, "", error=f"MCP server {each.name!r} is switched off"), Redactor(())
        redactor = Redactor(secret_values.values(each.environment, [server]))
        return asyncio.run(try_server(server, each.environment, tool, arguments)), redactor
    except ConfigurationError as error:
        return ServerTrial(each.name, "", error=error.line()), Redactor(secret_values.values(each.environment))


def _print_trial(trial: Mapping[str, Any]) -> None:
    paint = Paint.for_stream(sys.stdout)
    mark = paint.green(paint.symbol("✓", "ok")) if trial["ok"] else paint.red(paint.symbol("✗", "FAIL"))
    tools = trial["tools"]
    summary = (
        f"{len(tools)} tool{'' if len(tools) == 1 else 's'} in {trial['seconds']:.1f} s" if not trial["error"] else ""
    )
    print(f"{mark} {paint.bold(one_line(trial['server'], 60))} {trial['transport']}  {summary}".rstrip())
    host = one_line(trial["host"] or "unknown", 100)
    by = (
        f"a worker of the queue {one_line(trial['queue'], 100)}, host {host}"
        if trial["queue"]
        else f"this host, {host}"
    )
    print(f"    {paint.dim(f'tested by {by}')}")
    if trial["error"]:
        print(f"    {one_line(trial['error'], 600)}")
    for each in tools:
        names = each["parameters"]  # of a worker; here it is the schema
        if isinstance(names, dict):
            needed = names.get("required") or []
            names = [f"{name}{'*' if name in needed else ''}" for name in names.get("properties") or {}]
        print(f"    {one_line(each['name'], 60)}({one_line(', '.join(names), 100)})")
        print(f"        {paint.dim(one_line(each['description'], 110))}")
    for notice in trial["notices"]:
        print(f"  {paint.yellow('!')} {one_line(notice, 600)}")
    if trial["instructions"]:
        print(f"    instructions: {one_line(trial['instructions'], 200)}")
    if "call" in trial:
        call = trial["call"]
        print(f"  {one_line(call['tool'], 60)}: {call['error'] or 'done'}")
        for line in str(call["output"]).splitlines()[:40]:
            print(f"    {one_line(line, 200)}")
        for file in call["files"]:
            print(f"    [{file['type']}, {file['bytes']} bytes]")


def _variables(pairs: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in pairs:
        name, equals, value = text.partition("=")
        if not name or (not equals and name not in os.environ):
            raise UsageError(
                f"--env {one_line(name, 60)!r}: this shell has no such variable", remedy="Set it, or write NAME=VALUE"
            )
        values[name] = value if equals else os.environ[name]
    return values


mcp_.add_command(mcp_definitions.edit, "edit")
mcp_.add_command(mcp_definitions.rm, "rm")
