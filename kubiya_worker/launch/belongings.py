"""Tell what Kubiya Worker has written on this host, where, and what of it an uninstallation removes.

Only what the table below names is ours. Whatever else lies in `~/.kubiya` stays: the published Kubiya CLI keeps its own
configuration there, and people their extensions. Nothing that another user owns is removed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.launch import service, systemd, systemd_unit

SERVICE, CONFIGURATION, ENVIRONMENT, LOGS = "service", "configuration", "environment", "logs"
STATE, COMPLETION, DATA, FOREIGN = "state", "completion", "data", "not ours"
KINDS: Final = (SERVICE, CONFIGURATION, ENVIRONMENT, LOGS, STATE, COMPLETION, DATA, FOREIGN)
COMPLETION_MARK: Final = "_KUBIYA_COMPLETE"

_WORKER: Final = (
    *((DATA, name) for name in ("workspaces", "spool", "commands")),
    *((LOGS, name) for name in ("logs", "worker.log", "worker.log.*")),
    (STATE, "kept"),
    *((STATE, name) for name in ("worker.py", "worker.pid", ".worker.pid.lock", "daemon_info.txt", "state.json")),
    *((STATE, name) for name in ("state.json.run", "status.json", "status.json.run")),
    *((STATE, name) for name in ("worker-alive", "worker-ready", "alive", "ready")),
)
_CONTROL_PLANE: Final = tuple(
    (DATA, name) for name in ("control-plane.db*", "temporal.db*", "run-files", "secrets.key*", "key", "env")
)
# The kind of each path below ~/.kubiya. What no pattern fits is not ours.
_TABLE: Final = (
    (CONFIGURATION, "worker-config.yaml"),
    *((STATE, name) for name in ("agent-skills", "bytecode")),  # which the next use makes again
    *((ENVIRONMENT, f"workers/*/{name}") for name in ("venv", ".venv-*", ".venv.lock")),
    (CONFIGURATION, "workers/*/requirements.txt"),
    *((kind, f"{place}/{name}") for place in ("workers/*", "workers/*/instances/*") for kind, name in _WORKER),
    *((kind, f"services/*/{name}") for kind, name in _WORKER),
    *((kind, f"server/{name}") for kind, name in (*_CONTROL_PLANE, (LOGS, "*.log*"))),
)
_STACK: Final = (
    *_CONTROL_PLANE,
    *((DATA, name) for name in ("workspaces", "spool")),
    (LOGS, "logs"),
    *((STATE, name) for name in ("lock", "run", "ephemeral")),
)


@dataclass(frozen=True)
class Belonging:
    """A file or folder, its kind, and its size in bytes with all that is in it. `note` is for the person."""

    kind: str
    path: Path
    size: int = 0
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": str(self.path), "size_bytes": self.size, "note": self.note}


def below_home(home: Path, stack: Path) -> Iterator[Belonging]:
    """Yield what is in `~/.kubiya`: ours by the table, all else as not ours. `of_stack` tells of the stack."""
    if not home.is_dir():
        return
    ours = {path: kind for kind, pattern in reversed(_TABLE) for path in home.glob(pattern)}
    yield from (one for one in _sorted_out(home, ours) if one.path != stack)


def of_stack(folder: Path) -> Iterator[Belonging]:
    """Yield what is in the folder of `kubiya dev`, wherever that is."""
    if folder.is_dir():
        yield from _sorted_out(folder, {path: kind for kind, name in _STACK for path in folder.glob(name)})


def _sorted_out(folder: Path, ours: Mapping[Path, str]) -> Iterator[Belonging]:
    for path in sorted(folder.iterdir()):
        kind = ours.get(path)
        if path.is_symlink() and path.parent.name == "workers" and "/" not in str(path.readlink()):
            yield Belonging(STATE, path, note="a queue's other name")
        elif kind is not None:
            yield belonging(kind, path)
        elif not path.is_symlink() and path.is_dir() and any(known.is_relative_to(path) for known in ours):
            yield from _sorted_out(path, ours)
        elif not path.is_symlink() and path.is_dir() and not any(path.iterdir()):
            continue  # empty: it goes with the folder around it
        else:
            yield belonging(FOREIGN, path)


def belonging(kind: str, path: Path, note: str = "") -> Belonging:
    try:
        owner = path.lstat().st_uid
    except OSError:
        return Belonging(FOREIGN, path, note="it cannot be read")
    if owner != os.geteuid():
        return Belonging(FOREIGN, path, size_of(path), f"it belongs to the user {owner}")
    return Belonging(kind, path, size_of(path), note)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder. Links are not followed."""
    try:
        entry = path.lstat()
        if not stat.S_ISDIR(entry.st_mode):
            return entry.st_size
        return sum(size_of(child) for child in path.iterdir())
    except OSError:
        return 0


def remove(found: Belonging) -> None:
    """Remove a file, a link (not what it leads to) or a folder. Raises OSError."""
    if found.path.is_symlink() or not found.path.is_dir():
        found.path.unlink(missing_ok=True)
    else:
        shutil.rmtree(found.path)


def remove_empty(folder: Path) -> None:
    """Remove a folder, and folders in it, as far as nothing else is in them."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for child in folder.iterdir():
        remove_empty(child)
    try:
        folder.rmdir()
    except OSError:
        pass  # something of somebody else's is in it


def units(*, system: bool) -> list[Path]:
    """Return the unit files that `kubiya worker install-service` wrote."""
    folder = systemd_unit.unit_file("x", system=system).parent
    unit_files = []
    for path in sorted(folder.glob(f"{service.PREFIX}-*.service")):
        try:
            systemd.refuse_foreign(path)
        except ConfigurationError:
            continue
        unit_files.append(path)
    return unit_files


def states_of_services(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders in which services of this user keep their state; a system unit's for root."""
    home = Path(environ.get("HOME") or Path.home())
    places = [Path(environ.get("XDG_STATE_HOME") or home / ".local/state")]
    places.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config"))  # of a systemd before 254
    places += [Path("/var/lib/private"), Path("/var/lib")] if os.geteuid() == 0 else []
    return [path for place in places if (path := place / service.PREFIX).is_dir() and not path.is_symlink()]
