"""Skill `ssh`: programs of other hosts, many hosts at once, with a result for each.

`inventory` says which hosts there are, the shell skill's list of allowed programs what may run there, and `client` what
the host's own OpenSSH client is given. The client runs confined, with a folder that exists for the call only.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker import templates
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolArgumentsError, ToolContext, ToolResult, refusal
from kubiya_worker.tools.confinement import profile
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.shell import allowed_programs, command_line
from kubiya_worker.tools.shell.allowed_programs import ANY
from kubiya_worker.tools.shell.endings import ending
from kubiya_worker.tools.shell.skill import DEFAULT_ALLOWED, commands
from kubiya_worker.tools.shell.variables import DEFAULT_PATH
from kubiya_worker.tools.skill_configuration import Skill
from kubiya_worker.tools.ssh import client, inventory
from kubiya_worker.tracing import current

TYPES: Final = ("ssh",)
KEYS: Final = {
    "hosts": "An object: a name, then " + "; ".join(f"`{key}`: {text}" for key, text in inventory.HOST_KEYS.items()),
    "groups": "An object: a name, then a list of hosts (none)",
    "user": "The account on hosts that name none",
    "private_key": "The private key for hosts that name none: `{{.secret.NAME}}`",
    "agent": "Whether keys come from the ssh-agent of the worker (SSH_AUTH_SOCK) where none is given (false)",
    "allowed_commands": "Programs that may be run there; `*` for any (ls cat grep find ps top pwd echo head tail)",
    "blocked_commands": "Programs that may not, whatever is allowed (none)",
    "input_commands": "Further allowed programs that may read an input or a pipe, as in `shell` (none)",
    "timeout": "Seconds until a host is given up, its connection included, 1 to 600 (30); when set, also the most that "
    "the model may ask for",
    "connect_timeout": "Seconds for a connection, 1 to 60 (10)",
    "parallel": "Hosts at the same time, 1 to 50 (20)",
    "working_directory": "An absolute path on the hosts (the account's home)",
    "usage_guidelines": "Text for the model, 2,000 characters (none)",
}
DEFAULT_TIMEOUT: Final = 30.0  # seconds
LONGEST_TIMEOUT: Final = 600.0
MOST_HOSTS: Final = 200  # of one call
_CLIENT_VARIABLES: Final = {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8", "SHELL": "/bin/sh"}
_SHOWN: Final = 4_000  # characters of names in the description
_GUIDELINES: Final = 2_000


@dataclass(frozen=True)
class HostResult:
    """The result on one host. `state` is ok, failed, timed_out, or what prevented the run."""

    host: str
    state: str
    note: str  # one line; empty for success
    output: str
    code: int | None
    seconds: float
    left_out: int = 0

    def about(self) -> dict[str, Any]:
        """Return what events show of it."""
        return {"host": self.host, "state": self.state, "exit_code": self.code, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class _RemoteCommand:
    """The command of one call, the same on each of its hosts, and the client that runs it."""

    text: str  # as the hosts' shells read it
    input_text: str | None
    timeout: float  # seconds
    output_limit: int  # characters that are kept of each host
    folder: Path  # the client's configuration, keys and logs
    profile: Profile | None  # what the client may reach; None: everything
    call_id: str


def build(skill: Skill, workspace: Path) -> list[Tool]:
    return [Ssh(skill)]


class Ssh:
    """The tool `ssh`, with the arguments `{hosts, command, input?, timeout?}`."""

    def __init__(self, skill: Skill) -> None:
        self._inventory = inventory.of_skill(skill)
        self._agent = skill.flag("agent", False)
        allowed = commands(skill, "allowed_commands", DEFAULT_ALLOWED)
        blocked = commands(skill, "blocked_commands", ())
        if ANY in blocked:
            raise skill.wrong("blocked_commands", "a list of program names; switch the skill off to block all")
        self._allowance = allowed_programs.AllowedPrograms(allowed, blocked, elsewhere=True)
        self._input_commands = commands(skill, "input_commands", ())
        self._timeout = skill.number("timeout", DEFAULT_TIMEOUT, 1, LONGEST_TIMEOUT)
        self._longest = self._timeout if skill.configuration.get("timeout") is not None else LONGEST_TIMEOUT
        self._connect = skill.number("connect_timeout", 10, 1, 60)
        self._parallel = int(skill.number("parallel", 20, 1, 50))
        self._folder = skill.text("working_directory")
        if self._folder and not self._folder.startswith("/"):
            raise skill.wrong("working_directory", "an absolute path on the hosts")
        search_path = os.environ.get("PATH") or DEFAULT_PATH
        self._program = shutil.which("ssh", path=os.pathsep.join(allowed_programs.trusted_path(search_path))) or ""
        if not self._program:
            raise ConfigurationError(
                f"skill {skill.name!r} (ssh): this host has no OpenSSH client",
                remedy="Install the package openssh-client (Debian) or openssh-clients (Fedora)",
            )
        self.spec = self._describe(skill)

    def expanded(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with the members of groups in place of the groups' names."""
        hosts = self._inventory.members(arguments["hosts"])
        if len(hosts) > MOST_HOSTS:
            raise ToolArgumentsError(f"These are {len(hosts)} hosts; {MOST_HOSTS} are the most for one call.")
        return {**arguments, "hosts": hosts}

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        try:
            hosts = list(dict.fromkeys(self.expanded(arguments)["hosts"]))
            lines = command_line.parse(str(arguments["command"]))
            self._check(lines, reads=arguments.get("input") is not None)
            keys = self._keys(hosts, context)
            agent = self._agent_socket(hosts)
        except (ToolArgumentsError, command_line.CommandRefused, ConfigurationError) as refused:
            return refusal(str(refused).rstrip("."))
        remote = client.remote_command(lines, self._folder)
        limit = min(max(float(arguments.get("timeout") or self._timeout), 1), self._longest)
        input_text = None if arguments.get("input") is None else str(arguments["input"])
        with programs.private_folder("kubiya-ssh-") as folder:
            try:
                self._write(folder, keys, agent, min(self._connect, limit))
                confined = self._profile(folder, agent)
            except (OSError, ConfigurationError) as error:
                return refusal(f"ssh could not be started: {error}")
            turn = asyncio.Semaphore(self._parallel)
            kept = max(context.keep_limit // len(hosts), 2_000)
            command = _RemoteCommand(remote, input_text, limit, kept, folder, confined, context.tool_call_id)

            async def one(host: str) -> HostResult:
                async with turn:
                    return await self._on(host, command)

            async with asyncio.TaskGroup() as group:  # a cancelled call ends the clients of all hosts first
                tasks = [group.create_task(one(host)) for host in hosts]
        return _result([task.result() for task in tasks], lines)

    async def _on(self, host: str, command: _RemoteCommand) -> HostResult:
        folder = command.folder
        argv = client.command(self._program, folder, host, command.text)
        try:
            ended = await programs.run_pipe(
                programs.Pipe(
                    [programs.Program(self._program, argv)],
                    cwd=folder,
                    env={**_CLIENT_VARIABLES, "HOME": str(folder), **current.variables()},
                    profile=command.profile,
                    input_text=command.input_text,
                ),
                timeout=command.timeout,
                output_limit=command.output_limit,
                call_id=command.call_id,
            )
        except (OSError, ValueError) as error:
            return HostResult(host, "failed", f"ssh could not be started: {error}", "", None, 0.0)
        result = HostResult(host, "ok", "", ended.output, ended.code, ended.seconds, ended.left_out)
        if ended.code == client.FAILED or ended.timed_out:
            hops = [each.name for each in reversed(self._inventory.path(host))]
            logs = {jump: _log(folder / client.log_file(to, jump)) for jump, to in itertools.pairwise(hops)}
            fault = client.fault(_log(folder / client.log_file(host)), logs, host)
            if fault is not None:
                return replace(result, state=fault[0], note=fault[1], code=None)
        if ended.timed_out:
            after = f"timed out after {command.timeout:g} seconds"
            note = f"{after}; the connection was closed, and the program may still run there"
            return replace(result, state="timed_out", note=note, code=None)
        note = ending(ended.code) or ""
        return replace(result, state="failed", note=note) if note else result

    def _check(self, lines: Sequence[command_line.CommandLine], *, reads: bool) -> None:
        for number, line in enumerate(lines):
            self._allowance.check(line.argv, Path("/"))
            if number or reads:
                self._allowance.check_input(line.argv, self._input_commands)

    def _keys(self, hosts: Sequence[str], context: ToolContext) -> dict[str, str]:
        """Return the private keys of the hosts and of those on the way to them."""
        needed = {one.name: one.private_key for host in hosts for one in self._inventory.path(host)}
        return {
            name: f"{templates.resolve(key, {}, f'the host {name}', context.secrets)}".replace("\r\n", "\n").strip()
            for name, key in needed.items()
            if key
        }

    def _agent_socket(self, hosts: Sequence[str]) -> str:
        needed = [one.name for host in hosts for one in self._inventory.path(host) if not one.private_key]
        socket = os.environ.get("SSH_AUTH_SOCK", "")
        if needed and (not Path(socket).is_absolute() or '"' in socket):
            raise ConfigurationError(
                f"the key of {needed[0]} is to come from an ssh-agent, and the worker has none (SSH_AUTH_SOCK)",
                remedy="Start the worker where SSH_AUTH_SOCK is set, or give the host a `private_key`",
            )
        return socket if needed else ""

    def _write(self, folder: Path, keys: dict[str, str], agent: str, connect: float) -> None:
        configuration = client.configuration(self._inventory, folder, self._program, agent, connect)
        files = {client.CONFIGURATION: configuration, client.KNOWN_HOSTS: client.known_hosts(self._inventory)}
        files |= {client.key_file(name): f"{key}\n" for name, key in keys.items()}
        for name, text in files.items():
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)

    def _profile(self, folder: Path, agent: str) -> Profile | None:
        """Return what the client may reach: its folder, the system, the network, and the agent where one is used."""
        reads = (*profile.folders_of_programs([str(Path(self._program).parent)]), *([agent] if agent else []))
        own = profile.make(folder, reads=reads, grants=("unix_sockets",) if agent else ())
        return profile.Declared(replace(own, once=True)).applied()

    def _describe(self, skill: Skill) -> ToolSpec:
        allowed = sorted(self._allowance.allowed)
        everything = ANY in allowed
        groups = [f"{name} ({', '.join(members)})" for name, members in self._inventory.groups.items()]
        lines = [
            "Run one program on one or more other hosts, at the same time, and read its output from each of them.",
            "Programs with | between them run as a pipe. There is no shell otherwise: no redirections, lists, "
            "variables, substitutions or * patterns.",
            f"Hosts: {', '.join(self._inventory.reachable)}."[:_SHOWN],
            *([f"Groups: {'; '.join(groups)}."[:_SHOWN]] if groups else []),
            "Any command may be used." if everything else f"Commands that may be used: {', '.join(allowed)}.",
        ]
        if self._allowance.blocked:
            lines.append(f"Not these: {', '.join(sorted(self._allowance.blocked))}.")
        if skill.text("usage_guidelines"):
            lines.append(skill.text("usage_guidelines")[:_GUIDELINES])
        harmless = self._allowance.allowed <= set(DEFAULT_ALLOWED)
        rounds = math.ceil(min(len(self._inventory.reachable), MOST_HOSTS) / self._parallel)
        return ToolSpec(
            name="ssh",
            description="\n".join(lines),
            parameters={
                "type": "object",
                "properties": {
                    "hosts": {
                        "type": "array",
                        "items": {"type": "string"},
                        "minItems": 1,
                        "maxItems": MOST_HOSTS,
                        "description": "Names of hosts and groups",
                    },
                    "command": {
                        "type": "string",
                        "minLength": 1,
                        "description": "Program and arguments: df -h | tail -5",
                    },
                    "input": {"type": "string", "description": "What the (first) program reads from standard input"},
                    "timeout": {
                        "type": "number",
                        "minimum": 1,
                        "maximum": self._longest,
                        "description": f"Seconds for each host; default {self._timeout:g}",
                    },
                },
                "required": ["hosts", "command"],
                "additionalProperties": False,
            },
            risk="critical" if everything else "medium" if harmless else "high",
            category="command_execution",
            timeout=rounds * (self._longest + programs.GRACE) + 10,
            taints=True,
            remote=True,
            effects=("exec",) if not harmless else (),
        )


def _log(path: Path) -> str:
    try:
        return path.read_bytes()[:100_000].decode("utf-8", "replace")
    except OSError:
        return ""


def _result(results: Sequence[HostResult], lines: Sequence[command_line.CommandLine]) -> ToolResult:
    """Return the outputs under the names of their hosts, and one error for those that failed."""
    failed = [result for result in results if result.state != "ok"]
    parts = []
    for result in results:
        head = f"=== {result.host} ===\n" if len(results) > 1 else ""
        body = result.output + ("" if not result.output or result.output.endswith("\n") else "\n")
        note = f"[{result.note}]\n" if result.note else ""
        parts.append(f"{head}{body}{note}" if body or note else f"{head}[no output]\n")
    patterns = [pattern for line in lines for pattern in line.patterns]
    if failed and patterns:
        parts.append(f"[no shell: {' '.join(patterns[:3])[:200]} was passed on as it is written]\n")
    error = None
    if failed and len(results) == 1:
        error = failed[0].note
    elif failed:
        named = "; ".join(f"{result.host}: {result.note}" for result in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        error = f"failed on {len(failed)} of {len(results)} hosts: {named}{more}"
    about = {"hosts": [result.about() for result in results], "characters_left_out": sum(r.left_out for r in results)}
    return ToolResult("".join(parts), error=error, metadata=about)
