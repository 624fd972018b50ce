"""Confine the process of a stdio server: its program, and what it may reach.

It may read the system, the programs of PATH, its own program, the worker's CA file, and the files that its `args` name
in so many words; it may change the workspace and its `cwd`. A `{{…}}` in `args` opens nothing, because whoever starts
an execution fills it.

Many published servers write into the home folder when they start. Where nothing of the user's home is open to a server,
it gets a home of its own in the workspace, or it could not start.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.confinement import profile, spawn, visible
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.confinement.profile import Declared
from kubiya_worker.tools.mcp.config import McpServer
from kubiya_worker.tools.mcp.confinement_keys import ServerKeys

REMEDY: Final = (
    "The server is confined: `read_paths`, `write_paths` and `grants` of its settings open more, `packages` the caches "
    "of npx and uvx"
)


def declared(server: McpServer, workspace: Path) -> Declared:
    """Return what the keys of a server say. Raises ConfigurationError."""
    return profile.of_skill(ServerKeys(server.name, "mcp", server.confinement), workspace)


def profile_of(server: McpServer, workspace: Path, folder: Path, program: str) -> Profile | None:
    """Return the profile of a server's process; None: unconfined. Raises ConfigurationError."""
    base = declared(server, workspace).applied()
    if base is None:
        return None
    reads = [each for each in server.named_files if visible.is_file(each)]
    reads += [program, os.path.realpath(program)]
    beside = [Path(each).parent for each in (program, os.path.realpath(program))]
    search = [each for each in os.environ.get("PATH", "").split(os.pathsep) if each]
    search += [str(each) for each in beside if each.name in ("bin", ".bin", "shims")]
    reads += profile.folders_of_programs(search)
    own = profile.folders_of_interpreter(program) if program == sys.executable else ()
    writes = profile.folder_to_change(folder) if folder != workspace else ()
    return replace(
        base,
        reads=(*base.reads, *reads),
        writes=(*base.writes, *writes),
        own=(*base.own, *own),
    )


def own_folders(server: McpServer, workspace: Path, program: str) -> dict[str, str]:
    """Return TMPDIR, and HOME where the server has one of its own, unless its settings have them; makes the folders."""
    folders = {"TMPDIR": str(spawn.temporary_folder(workspace))}
    if needs_home(server, workspace, program):
        folders["HOME"] = str(spawn.home_folder(workspace))
    return {name: folder for name, folder in folders.items() if name not in server.env}


def needs_home(server: McpServer, workspace: Path, program: str) -> bool:
    """Return whether a confined server could use nothing of the user's home.

    A program that lies in the home (of nvm, pyenv, `uv tool`) may look for its own files there.
    """
    home, profile = Path.home(), declared(server, workspace).profile
    used = [program, os.path.realpath(program), *((*profile.reads, *profile.writes) if profile else ())]
    return not any(Path(each).is_relative_to(home) or home.is_relative_to(each) for each in used)


def program_of(server: McpServer, folder: Path, search: str) -> str:
    """Return the path of a server's program, found in its folder or the search path. Raises ConfigurationError."""
    wanted = server.command if os.sep not in server.command else str(folder / server.command)
    path = shutil.which(wanted, path=search)
    if path is None:
        raise ConfigurationError(
            f"the program {server.command} cannot be started: Permission denied"
            if os.sep in wanted and visible.exists(wanted)
            else f"the program {server.command} is not on this host",
            remedy="Install it on the worker's host, or correct `command`; it has to be executable",
        )
    return str(Path(path).absolute())
