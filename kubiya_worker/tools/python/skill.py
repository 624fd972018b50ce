"""Skill `python`: a program of the model's own, in an interpreter of its own.

The interpreter is another process (group, time limit, output limit, end: `processes.programs`), isolated (`-I -S`: the
standard library and nothing of the worker's packages), with resource limits, and with an environment made from nothing.
`runner` limits what it may import and do, and says what that is worth.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import network_variables
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tools.confinement import profile, spawn
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.python import runner
from kubiya_worker.tools.shell.variables import DEFAULT_PATH, tool_environment
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("python",)
KEYS: Final = {
    "enable_code_execution": "Whether there is the tool at all (true)",
    "blocked_imports": "What programs may not import, nor do by other ways (os subprocess sys socket shutil)",
    "allowed_imports": "The only modules that programs may import; those of `blocked_imports` stay blocked (any)",
    "timeout": "Seconds until a program is ended, 1 to 300 (60)",
    "max_memory": 'Ours: bytes, or a string such as "1GB", of address space, on Linux (1GB)',
    "interpreter": "Ours: absolute path of another Python, with its packages (the worker's, without packages)",
    **profile.KEYS,
}
DEFAULT_BLOCKED: Final = ("os", "subprocess", "sys", "socket", "shutil")
DEFAULT_MEMORY: Final = 1 << 30
LONGEST_CODE: Final = 200_000  # characters


def build(skill: Skill, workspace: Path) -> list[Tool]:
    tool = Python(skill, workspace)
    return [tool] if skill.flag("enable_code_execution", True) else []


class Python:
    """The tool `run_python`, with the argument `{code}`."""

    def __init__(self, skill: Skill, workspace: Path) -> None:
        blocked = skill.strings("blocked_imports", DEFAULT_BLOCKED) or ()
        allowed = skill.strings("allowed_imports", None)
        for key, names in (("blocked_imports", blocked), ("allowed_imports", allowed or ())):
            if not all(part.isidentifier() for name in names for part in name.split(".")):
                raise skill.wrong(key, "a list of module names")
        self._timeout = skill.number("timeout", 60, 1, 300)
        interpreter = skill.text("interpreter")
        if interpreter and not (Path(interpreter).is_absolute() and os.access(interpreter, os.X_OK)):
            raise ConfigurationError(
                f"skill {skill.name!r} ({skill.type}): `interpreter` {interpreter} is no program on this host",
                remedy="Give the absolute path of a Python",
            )
        self._command = [interpreter, "-I", "-B"] if interpreter else [sys.executable, "-I", "-S", "-B"]
        self._limits = {
            "blocked": list(blocked),
            "allowed": None if allowed is None else list(allowed),
            "memory": skill.size("max_memory", DEFAULT_MEMORY),
            "seconds": self._timeout,
        }
        self._skill = skill.name
        self._declared = profile.of_skill(skill, workspace)
        self._own = (runner.__file__, *profile.folders_of_interpreter(self._command[0]))
        self.spec = self._describe(blocked, allowed)

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        code = str(arguments["code"])
        context.workspace.mkdir(parents=True, exist_ok=True)
        try:
            confined = self._declared.applied()
            ended = await programs.run_pipe(
                programs.Pipe(
                    [programs.Program(self._command[0], (*self._command, runner.__file__))],
                    cwd=context.workspace,
                    env=_environment(context, temporary=confined is not None),
                    profile=confined and confined.reading(*self._own),
                    input_text=json.dumps({**self._limits, "code": code}),  # never a file that another call could read
                ),
                timeout=self._timeout,
                output_limit=context.keep_limit,
                call_id=context.tool_call_id,
            )
        except (OSError, ConfigurationError) as error:
            return refusal(f"Python could not be started: {error}")
        error_line = None
        if ended.timed_out:
            error_line = f"timed out after {self._timeout:g} seconds"
        elif ended.code < 0:
            error_line = f"ended by signal {-ended.code}" + (" (a limit of time or memory)" if ended.code == -9 else "")
        elif ended.code:
            error_line = f"exit code {ended.code}"
        output = ended.output
        if error_line:
            output += ("" if not output or output.endswith("\n") else "\n") + f"[{error_line}]\n"
            if confined and "PermissionError" in output:
                output += f"[{self._declared.refused(self._skill, '')}]\n"
        metadata = {"exit_code": ended.code, "seconds": round(ended.seconds, 3), "output_bytes": ended.total_bytes}
        return ToolResult(output or "[no output; use print to see values]", error=error_line, metadata=metadata)

    def _describe(self, blocked: tuple[str, ...], allowed: tuple[str, ...] | None) -> ToolSpec:
        lines = ["Run a Python program and read what it prints. Each call is a new interpreter, in the workspace."]
        if allowed is not None:
            lines.append(f"It may import only: {', '.join(allowed) or 'nothing'}.")
        if blocked:
            lines.append(f"It may not import: {', '.join(blocked)}.")
        if told := self._declared.told():
            lines.append(told)
        return ToolSpec(
            name="run_python",
            description="\n".join(lines),
            parameters={
                "type": "object",
                "properties": {"code": {"type": "string", "minLength": 1, "maxLength": LONGEST_CODE}},
                "required": ["code"],
                "additionalProperties": False,
            },
            risk="high",
            category="command_execution",
            timeout=self._timeout + programs.GRACE + 10,
            taints=True,
            effects=("write", "exec") if "socket" in blocked else ("write", "exec", "egress"),
            confirms=self._declared.confirms,
        )


def _environment(context: ToolContext, *, temporary: bool) -> dict[str, str]:
    base = {"HOME": str(context.workspace), "LANG": "C.UTF-8", "PATH": DEFAULT_PATH, "TERM": "dumb"}
    zone = {"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}
    if temporary:
        base["TMPDIR"] = str(spawn.temporary_folder(context.workspace))
    return {**base, **zone, **network_variables.of_worker(os.environ), **tool_environment(context.env)}
