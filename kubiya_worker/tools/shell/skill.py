"""Skill `shell`: programs of this host, alone or as a pipe, without a shell.

`allowed_programs` decides what may run, `hazards` what it may be given, and `variables` what is in its environment.
`processes.programs` runs and ends it.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import network_variables
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tools.confinement import profile, spawn, visible
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.shell import allowed_programs, command_line, long_tools, private_files
from kubiya_worker.tools.shell.allowed_programs import ANY
from kubiya_worker.tools.shell.endings import REFUSED, ending
from kubiya_worker.tools.shell.prepared import PreparedPipe
from kubiya_worker.tools.shell.variables import DEFAULT_PATH, never_passed, tool_environment
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("shell", "bash")
KEYS: Final = {
    "allowed_commands": "Programs that may be run; `*` for any (any; in a skill without any key: ls cat grep find ps "
    "top pwd echo head tail)",
    "blocked_commands": "Programs that may not, whatever is allowed (none)",
    "timeout": "Seconds until a program is ended, 1 to 600 (30); when set, also the most that the model may ask for",
    "working_directory": "Where programs run (the workspace)",
    "usage_guidelines": "Text for the model, 2,000 characters (none)",
    "environment_context": "Text for the model, 2,000 characters (none)",
    "shell_binary": "Taken and not used: there is no shell",
    "shell_args": "Taken and not used: there is no shell",
    "input_commands": "Ours: further allowed programs that may read an input, or what a pipe gives them, beside those "
    "that take it for plain data (none)",
    "long_commands": "Ours: true adds `shell_start`, `shell_wait` and `shell_stop`, for commands that take hours and "
    "outlive the worker (false)",
    "long_timeout_seconds": "Ours: seconds until such a command is ended, 1 to 604800 (14400)",
    "pass_environment": "Ours: variables that programs may see although they look like the worker's own; none that "
    "turns programs into others, such as LD_PRELOAD (none)",
    **profile.KEYS,
}
DEFAULT_ALLOWED: Final = ("ls", "cat", "grep", "find", "ps", "top", "pwd", "echo", "head", "tail")
DEFAULT_TIMEOUT: Final = 30.0  # seconds
LONGEST_TIMEOUT: Final = 600.0
LONG_TIMEOUT: Final = 14_400.0
LONGEST_LONG_TIMEOUT: Final = 604_800.0
# Programs whose output comes from other hosts. A default list, not a proof: `"taint": "ask"` covers all programs.
_FETCHING: Final = re.compile(
    r"aria2c|aws|az|curl|dig|elinks|ftp|gcloud|gh|git|glab|hg|host|https?|kubectl|links|lynx|ncat|nc|netcat|nslookup"
    r"|rsync|scp|sftp|socat|ssh|svn|telnet|w3m|wget|whois"
)
_RUNNING_OTHERS: Final = re.compile(
    r"a?sh|bash|busybox|dash|doas|env|find|flock|ionice|ksh|nice|nohup|parallel|setsid|stdbuf|sudo|time|timeout|watch"
    r"|xargs|zsh"
)
LEFT_NAMED: Final = 5  # processes that were left over and are named
_GUIDELINES: Final = 2_000  # characters of guidelines that the model is told


def build(skill: Skill, workspace: Path) -> list[Tool]:
    shell = Shell(skill, workspace)
    longest = skill.number("long_timeout_seconds", LONG_TIMEOUT, 1, LONGEST_LONG_TIMEOUT)
    if not skill.flag("long_commands", False):
        if skill.configuration.get("long_timeout_seconds") is not None:
            raise skill.wrong("long_timeout_seconds", "absent without `long_commands: true`, which it belongs to")
        return [shell]
    return [shell, *long_tools.of(shell, longest)]


class Shell:
    """The tool `shell`, with the arguments `{command, working_directory?, timeout?}`."""

    def __init__(self, skill: Skill, workspace: Path) -> None:
        # A server attaches `{}` to every agent, and nobody chose it. In a configuration that a person wrote, no list
        # means every program (docs/protocol.md#d3: shell_full_access is `{"timeout": 300}`).
        chosen = any(value is not None for value in skill.configuration.values())
        allowed = commands(skill, "allowed_commands", (ANY,) if chosen else DEFAULT_ALLOWED)
        blocked = commands(skill, "blocked_commands", ())
        if ANY in blocked:
            raise skill.wrong("blocked_commands", "a list of program names; switch the skill off to block all")
        for key in ("shell_binary", "shell_args"):
            if not isinstance(skill.configuration.get(key), (str, list, type(None))):
                raise skill.wrong(key, "a string or a list of strings; it has no effect, since no shell is run")
        self._workspace = workspace
        self._folder = Path(skill.text("working_directory") or workspace).expanduser()
        if not self._folder.is_absolute():
            self._folder = workspace / self._folder
        # No path of the execution here: tools come first in a request, and a difference between two executions of an
        # agent would make the provider's prompt cache useless for the second.
        self._shown = skill.text("working_directory") or "the execution's own folder"
        self._timeout = skill.number("timeout", DEFAULT_TIMEOUT, 1, LONGEST_TIMEOUT)
        # A configured timeout is a limit; the default is only the value without one in the call.
        self._longest = self._timeout if skill.configuration.get("timeout") is not None else LONGEST_TIMEOUT
        self._input_commands = commands(skill, "input_commands", ())
        self._passed = frozenset(skill.strings("pass_environment", ()) or ())
        for name in sorted(self._passed):
            if never_passed(name):
                raise skill.wrong("pass_environment", f"names of ordinary variables; {name} turns programs into others")
        self._allowance = allowed_programs.AllowedPrograms(
            allowed=allowed,
            blocked=blocked,
            search_path=allowed_programs.trusted_path(os.environ.get("PATH") or DEFAULT_PATH, outside=workspace),
            private=private_files.private_places(os.environ, Path.home()),
            roots=(workspace, self._folder),
        )
        self._skill = skill.name
        self._declared = profile.of_skill(
            skill,
            workspace,
            reads=(*profile.folders_of_programs(self._allowance.search_path), str(self._folder)),
            writes=profile.folder_to_change(self._folder),
            judges_lines=True,
        )
        self._allowance = replace(self._allowance, writable=tuple(map(Path, self._declared.writes)))
        self.spec = self._describe(skill)

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        timeout = float(arguments.get("timeout") or self._timeout)
        limit = min(max(timeout, 0.1), self._longest)
        try:
            ready = self.prepared(arguments, context)
            ended = await programs.run_pipe(
                ready.pipe, timeout=limit, output_limit=context.keep_limit, call_id=context.tool_call_id
            )
        except command_line.CommandRefused as refused:
            return refusal(str(refused))
        except (OSError, ValueError, ConfigurationError) as error:
            return refusal(f"{_first_word(arguments)} could not be started: {error}")
        return _result(ended, ready, limit)

    def prepared(self, arguments: dict[str, Any], context: ToolContext) -> PreparedPipe:
        """Return what a call runs, once all of it may run.

        Raises CommandRefused, and ConfigurationError where it has to be confined and cannot be.
        """
        folder = self._folder / Path(str(arguments.get("working_directory") or "."))
        if folder == self._workspace:
            folder.mkdir(parents=True, exist_ok=True)
        if not visible.is_folder(folder):
            raise command_line.CommandRefused(f"The working directory {folder} does not exist")
        lines = command_line.parse(str(arguments["command"]))
        input_text = arguments.get("input")
        checked = self._check(lines, folder.resolve(), reads=input_text is not None)
        confined = self._declared.applied()
        return PreparedPipe(
            lines=lines,
            pipe=programs.Pipe(
                checked,
                cwd=folder,
                env=self.environment(context, temporary=confined is not None),
                profile=confined,
                input_text=None if input_text is None else str(input_text),
            ),
            refused=self._declared.refused(self._skill, lines[0].argv[0]) if confined else "",
            remote=any(fetches(line.argv) for line in lines),
        )

    def _check(self, lines: Sequence[command_line.CommandLine], folder: Path, *, reads: bool) -> list[programs.Program]:
        """Return the programs of a pipe once each may run. `reads` says that the first one is given an input."""
        checked = []
        for number, line in enumerate(lines):
            executable = self._allowance.check(line.argv, folder)
            if number or reads:
                self._allowance.check_input(line.argv, self._input_commands)
            checked.append(programs.Program(executable, (Path(executable).name, *line.argv[1:])))
        return checked

    def environment(self, context: ToolContext, *, temporary: bool = False) -> dict[str, str]:
        """Return an environment that begins empty, and never has the worker's secrets.

        It gets what programs need of the host and its network, then the tools' variables.
        """
        home = {
            name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR") if name in os.environ
        }
        base = {"LANG": "C.UTF-8", "HOME": str(context.workspace), **home, "TERM": "dumb", "PAGER": "cat"}
        base["PATH"] = os.pathsep.join(self._allowance.search_path)
        base["GIT_TERMINAL_PROMPT"] = "0"  # nobody is there to answer
        if ANY not in self._allowance.allowed:
            base |= _protection()
        if temporary:
            base["TMPDIR"] = str(spawn.temporary_folder(context.workspace))
        base |= network_variables.of_worker(os.environ)
        return {**base, **tool_environment(context.env, self._passed, listed=ANY not in self._allowance.allowed)}

    def _describe(self, skill: Skill) -> ToolSpec:
        allowed = sorted(self._allowance.allowed)
        everything = ANY in allowed
        lines = [
            "Run one program on the host of the worker and read its output (stdout and stderr in order).",
            "Programs with | between them run as a pipe. There is no shell otherwise: no redirections, lists, "
            "variables, substitutions or * patterns.",
            "Any command may be used." if everything else f"Commands that may be used: {', '.join(allowed)}.",
        ]
        if self._allowance.blocked:
            lines.append(f"Not these: {', '.join(sorted(self._allowance.blocked))}.")
        for key in ("usage_guidelines", "environment_context"):
            value = skill.configuration.get(key)
            if value:
                lines.append((value if isinstance(value, str) else str(value))[:_GUIDELINES])
        if declared := self._declared.told():
            lines.append(declared)
        harmless = self._allowance.allowed <= set(DEFAULT_ALLOWED)
        unconfined = self._declared.confirms
        return ToolSpec(
            name="shell",
            description="\n".join(lines),
            parameters={
                "type": "object",
                "properties": {
                    "command": {
                        "type": "string",
                        "minLength": 1,
                        "description": "Program and arguments: du -h -d 1 /var | sort -h",
                    },
                    "input": {"type": "string", "description": "What the (first) program reads from standard input"},
                    "working_directory": {"type": "string", "description": f"Default: {self._shown}"},
                    "timeout": {
                        "type": "number",
                        "minimum": 1,
                        "maximum": self._longest,
                        "description": f"Seconds until the program is ended; default {self._timeout:g}",
                    },
                },
                "required": ["command"],
                "additionalProperties": False,
            },
            risk="critical" if everything or unconfined else "medium" if harmless else "high",
            category="command_execution",
            timeout=self._longest + programs.GRACE + 10,
            taints=True,
            effects=("exec",) if not harmless else (),
            confirms=unconfined,
        )


def _protection() -> dict[str, str]:
    """Return variables that keep allowed programs from running others because of a repository's own configuration.

    Git's settings from variables override those of a repository. Submodules are left out of `status` and `diff`, since
    git reads their configuration without these variables.
    """
    settings = {
        "safe.bareRepository": "explicit",
        "core.fsmonitor": "false",
        "core.hooksPath": os.devnull,
        "core.pager": "cat",
        "core.editor": "true",
        "sequence.editor": "true",
        "protocol.ext.allow": "never",
        "diff.ignoreSubmodules": "all",
        "submodule.recurse": "false",
        "fetch.recurseSubmodules": "false",
    }
    numbered = enumerate(settings.items())
    variables = {
        f"GIT_CONFIG_{part}_{n}": text
        for n, pair in numbered
        for part, text in zip(("KEY", "VALUE"), pair, strict=True)
    }
    programs = {"GIT_EDITOR": "true", "GIT_SEQUENCE_EDITOR": "true", "GIT_PAGER": "cat", "MANPAGER": "cat"}
    others = {"SYSTEMD_PAGER": "cat", "LESSSECURE": "1", "HGPLAIN": "1"}
    return {"GIT_CONFIG_COUNT": str(len(settings)), **variables, **programs, **others}


def commands(skill: Skill, key: str, default: tuple[str, ...]) -> frozenset[str]:
    names = skill.strings(key, default) or ()
    for name in names:
        if name != ANY and not re.fullmatch(r"[A-Za-z0-9_.+@\[-]+|/[^\s*?]+", name):
            raise skill.wrong(key, f"a list of program names or absolute paths, one each; {name!r} is neither")
    return frozenset(names)


def fetches(argv: Sequence[str]) -> bool:
    """Return whether the command runs a program that fetches from other hosts.

    It may run it directly, or through another program: `env curl …`.
    """
    program = Path(argv[0]).name
    if _RUNNING_OTHERS.fullmatch(program):
        return any(map(_FETCHING.fullmatch, re.split(r"[^A-Za-z0-9_.+-]+", " ".join(argv[1:]))))
    return _FETCHING.fullmatch(program) is not None


def _result(ended: programs.ProgramResult, ready: PreparedPipe, timeout: float) -> ToolResult:
    """Return the output, then what became of the programs, each on a line of its own in brackets."""
    lines, refused = ready.lines, ready.refused
    error = f"timed out after {timeout:g} seconds" if ended.timed_out else ending(ended.code)
    notes = [error] if error else []
    for line, code in zip(lines[:-1], ended.codes[:-1], strict=True):
        if code and code != -signal.SIGPIPE and not ended.timed_out:  # the next program read enough
            notes.append(f"{line.argv[0]}: {ending(code)}")
    patterns = [pattern for line in lines for pattern in line.patterns]
    if error and patterns:
        notes.append(f"no shell: {' '.join(patterns[:3])[:200]} was passed on as it is written")
    if error and refused and any(text in ended.output for text in REFUSED):
        notes.append(refused)
    if ended.left:
        more = f" and {len(ended.left) - LEFT_NAMED} more" if len(ended.left) > LEFT_NAMED else ""
        notes.append(f"still running and ended with the call: {', '.join(ended.left[:LEFT_NAMED])}{more}")
    output = ended.output
    if notes and output and not output.endswith("\n"):
        output += "\n"
    output += "".join(f"[{note}]\n" for note in notes)
    return ToolResult(
        output or "[no output]",
        error=error,
        metadata={
            "exit_code": ended.code,
            "seconds": round(ended.seconds, 3),
            "output_bytes": ended.total_bytes,
            "characters_left_out": ended.left_out,
        },
        remote=ready.remote,
    )


def _first_word(arguments: dict[str, Any]) -> str:
    words = str(arguments["command"]).split()
    return words[0] if words else "The command"
