"""The folder of a worker on this host: `~/.kubiya/workers/<queue>/` (0700), as docs/protocol.md#f3 names its files.

    venv/  requirements.txt       the packages of the worker; shared by the instances of a queue
    worker.py                     the script that runs; `ps` shows its path
    worker.pid                    the supervisor's identity, as JSON
    daemon_info.txt               the same for people, with commands
    state.json                    the supervisor's report: state, deaths, next start
    status.json                   the worker's own report: tasks, pollers
    logs/worker.log               and .1, .2 …

The first instance uses the queue's folder, each further one `instances/<n>/` in it. A queue has an id and a name; the
folder is called by the one that was used first. A symbolic link is called by the other, so both lead to the same
worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubiya_worker._supervisor.posix import files
from kubiya_worker.errors import ConfigurationError, TemporaryFailure, UsageError
from kubiya_worker.settings.value_types import QUEUE_ID

MOST_INSTANCES: Final = 99


@dataclass(frozen=True)
class Home:
    """The paths of one instance. Making this object creates no folder."""

    queue_folder: Path
    instance: int = 1

    @property
    def folder(self) -> Path:
        return self.queue_folder if self.instance == 1 else self.queue_folder / "instances" / str(self.instance)

    @property
    def queue(self) -> str:
        """Return the queue as the person named it."""
        return self.queue_folder.name

    @property
    def label(self) -> str:
        return self.queue if self.instance == 1 else f"{self.queue} (instance {self.instance})"

    @property
    def flags(self) -> str:
        """Return the flags that name this worker on a command line."""
        return f"--queue-id {self.queue}" + ("" if self.instance == 1 else f" --instance {self.instance}")

    @property
    def venv(self) -> Path:
        return self.queue_folder / "venv"

    @property
    def requirements(self) -> Path:
        return self.queue_folder / "requirements.txt"

    @property
    def script(self) -> Path:
        return self.folder / "worker.py"

    @property
    def pid_file(self) -> Path:
        return self.folder / "worker.pid"

    @property
    def info_file(self) -> Path:
        return self.folder / "daemon_info.txt"

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def status_file(self) -> Path:
        return self.folder / "status.json"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def log_file(self) -> Path:
        return self.logs / "worker.log"

    @property
    def was_started(self) -> bool:
        """Return whether a supervisor was started here. A start with a misspelt queue leaves a folder without one."""
        return any(os.path.lexists(path) for path in (self.state_file, self.pid_file))

    def make(self) -> None:
        """Make the folders, open to this user only. Raises ConfigurationError when they cannot be made."""
        try:
            root = self.queue_folder.parent
            for folder in (root.parent, root, self.queue_folder, self.folder, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.queue_folder, self.folder, self.logs):
                if folder.stat().st_mode & 0o077:
                    folder.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(
                f"The worker's folder {error.filename or self.folder} cannot be used: {error.strerror}",
                remedy="Check HOME, and the folder's owner and rights",
            ) from error
        if not os.access(self.folder, os.W_OK) or not os.access(self.logs, os.W_OK):
            raise ConfigurationError(
                f"The worker's folder {self.folder} is not writable", remedy="Check its owner and rights"
            )

    def write(self, path: Path, text: str) -> None:
        """Write a file as a whole, with mode 0600 from the first byte. A file with the same text is not touched.

        Raises TemporaryFailure when it cannot be written, as on a full disk.
        """
        try:
            if path.read_text(encoding="utf-8") == text:
                return
        except (OSError, UnicodeDecodeError):
            pass  # missing or unreadable: it is written below
        try:
            files.replace(path, text)
        except OSError as error:
            raise TemporaryFailure(
                f"{path} cannot be written: {error.strerror}", remedy=f"df -h {path.parent}; df -i {path.parent}"
            ) from error

    def link(self, other: str) -> None:
        """Make a link from the queue's other name to this folder, unless that name is a folder of its own."""
        place = self.queue_folder.parent / other
        if QUEUE_ID.fullmatch(other) and other != self.queue and (place.is_symlink() or not place.exists()):
            try:
                if place.is_symlink() and place.readlink() != Path(self.queue):
                    place.unlink()
                place.symlink_to(self.queue)
            except FileExistsError:
                pass  # the link exists: it is the old one, or another process has just made it
            except OSError:
                pass  # the link is only a convenience: the worker works without it


def workers_folder() -> Path:
    """Return `~/.kubiya/workers`. Raises ConfigurationError when the user has no home."""
    try:
        return Path("~/.kubiya/workers").expanduser()
    except RuntimeError as error:
        raise ConfigurationError("This user has no home directory", remedy="Set HOME") from error


def find(queue: str, instance: int = 1, *, root: Path | None = None) -> Home:
    """Return the home of a queue's worker, whether it exists or not. Raises UsageError for an invalid name."""
    if not QUEUE_ID.fullmatch(queue):
        raise UsageError(
            f"--queue-id {queue!r} is not a queue's id or name", remedy="Letters, digits, '.', '_', '-'; at most 128"
        )
    if not 1 <= instance <= MOST_INSTANCES:
        raise UsageError(
            f"--instance {instance} is not a number from 1 to {MOST_INSTANCES}",
            remedy="Leave it out for the first worker of the queue, give 2 for the second",
        )
    folder = (root or workers_folder()) / queue
    return Home(_link_target(folder) or folder, instance)


def _link_target(folder: Path) -> Path | None:
    """Return the folder that a queue's other name links to.

    None for a real folder, or for a link that a person has made to another place.
    """
    if not folder.is_symlink():
        return None
    target = folder.readlink()
    sibling = folder.with_name(target.name) if QUEUE_ID.fullmatch(str(target)) else folder
    return sibling if sibling.is_dir() and not sibling.is_symlink() else None


def started(root: Path | None = None) -> Iterator[Home]:
    """Yield the homes in which a supervisor was started, by queue and instance."""
    yield from (home for home in homes(root) if home.was_started)


def homes(root: Path | None = None) -> Iterator[Home]:
    """Yield all homes that exist, by queue and instance."""
    folder = root or workers_folder()
    for queue in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _link_target(queue) or not queue.is_dir() or not QUEUE_ID.fullmatch(queue.name):
            continue
        yield Home(queue)
        others = queue / "instances"
        numbers = sorted(int(p.name) for p in others.iterdir() if p.name.isdigit()) if others.is_dir() else ()
        yield from (Home(queue, n) for n in numbers if 1 < n <= MOST_INSTANCES)
