"""Run a program for an extension as the skill `shell` would: confined, with a clean environment, and to its end.

Extensions are code in the worker's process, which the kernel cannot confine. What they start with `subprocess` has the
worker's rights. What they start with `run_program` has only those that are named in the call.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kubiya_worker.tools.base import ToolContext

if TYPE_CHECKING:
    from kubiya_worker.tools.processes.programs import ProgramResult


async def run_program(
    context: ToolContext,
    argv: Sequence[str],
    *,
    read_paths: Sequence[str] = (),
    write_paths: Sequence[str] = (),
    grants: Sequence[str] = (),
    network: bool = True,
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
    input_text: str | None = None,
) -> ProgramResult:
    """Run a program in the workspace of a call, and return how it ended; `timeout` is in seconds.

    It reads the system and the workspace, changes the workspace, and reaches what `read_paths`, `write_paths` and
    `grants` name as for the skill `shell` (docs/skills.md). Its variables are those of the execution and `env`.
    Whatever it has started ends with it, also when the call is cancelled or the worker is killed.
    Raises ValueError for an unknown grant, OSError when it cannot be started, and ConfigurationError where
    KUBIYA_CONFINEMENT is `require` and the kernel cannot.
    """
    # Imported here: the sandbox of an extension's workflow loads for each run all that the extension imports.
    from kubiya_worker.tools import network_variables
    from kubiya_worker.tools.confinement import profile, support
    from kubiya_worker.tools.processes import programs
    from kubiya_worker.tools.shell.variables import DEFAULT_PATH, tool_environment

    unknown = [name for name in grants if name not in profile.GRANTS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no grant; there are {', '.join(profile.GRANTS)}")
    context.workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = os.environ.get("PATH") or DEFAULT_PATH
    places = _places_of(argv[0], context.workspace, path)
    limits = None
    if support.is_active():
        limits = profile.make(
            context.workspace,
            reads=(*_folders(path), *places, *network_variables.files(os.environ), *read_paths),
            writes=tuple(write_paths),
            grants=tuple(grants),
            network=network,
        )
    return await programs.run_pipe(
        programs.Pipe(
            [programs.Program(places[0], (Path(argv[0]).name, *argv[1:]))],
            cwd=context.workspace,
            env={**_base(context, path, confined=limits is not None), **tool_environment(context.env), **(env or {})},
            profile=limits,
            input_text=input_text,
        ),
        timeout=timeout,
        output_limit=context.keep_limit,
        call_id=context.tool_call_id,
    )


def _base(context: ToolContext, path: str, *, confined: bool) -> dict[str, str]:
    named = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TZ", "USER") if name in os.environ}
    from kubiya_worker.tools import network_variables
    from kubiya_worker.tools.confinement import spawn

    base = {"LANG": "C.UTF-8", "HOME": str(context.workspace), **named, "PATH": path, "TERM": "dumb", "PAGER": "cat"}
    if confined:
        base["TMPDIR"] = str(spawn.temporary_folder(context.workspace))
    return {**base, **network_variables.of_worker(os.environ)}


def _places_of(program: str, workspace: Path, path: str) -> tuple[str, str]:
    """Return the path of a program, and the one that it links to. One with a slash is looked for in the workspace."""
    executable = shutil.which(program if os.sep not in program else str(workspace / program), path=path)
    if executable is None:
        raise FileNotFoundError(f"the program {program} is not on this host")
    return executable, os.path.realpath(executable)


def _folders(path: str) -> tuple[str, ...]:
    from kubiya_worker.tools.confinement import profile

    return profile.folders_of_programs(each for each in path.split(os.pathsep) if each)
