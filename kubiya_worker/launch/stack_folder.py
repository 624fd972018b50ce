"""The folder of a local stack (`~/.kubiya/dev`, 0700): its lock, its key, its databases and logs.

lock                    flock'd while a stack runs; says which
key                     the API key (0600)
env                     what prepares a shell (0600): export KUBIYA_API_KEY=…
control-plane.db        agents, executions, events
temporal.db             Temporal's own
logs/                   one file for each program, `.1` is the one before
run/                    the worker's health files and notification socket
ephemeral/              databases of a stack that keeps nothing; emptied at each start
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from kubiya_worker._supervisor.posix import files, lock
from kubiya_worker.errors import ConfigurationError, TemporaryFailure

LOG_LIMIT: Final = 11_000_000  # bytes: a larger log is set aside at a start; the control plane rotates its own at 10 MB


def default_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("KUBIYA_DEV_DIR") or "~/.kubiya/dev").expanduser().absolute()


class StackFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env_file = folder / "env"
        self.key_file = folder / "key"
        self.logs = folder / "logs"
        self.run = folder / "run"
        self.lock_file = folder / "lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises TemporaryFailure when another stack holds it, ConfigurationError for other problems.
        """
        try:
            for folder in (self.folder.parent, self.folder):  # ~/.kubiya too, when this makes it
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            # Not removed afterwards: removing a lock file while another process waits for it lets two in.
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"The folder {self.folder} cannot be used: {error.strerror}",
                remedy="Check its owner, or choose another one with --state-dir",
            ) from error
        try:
            if not lock.try_lock(descriptor):
                raise self._held_by_another()
            for folder in (self.logs, self.run):
                folder.mkdir(mode=0o700, exist_ok=True)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def announce(self, facts: Mapping[str, Any]) -> None:
        """Write into the lock file what runs, for another process that finds the lock held."""
        with self.lock_file.open("r+", encoding="utf-8") as file:
            file.truncate()
            json.dump({"pid": os.getpid(), **facts}, file)

    def _held_by_another(self) -> TemporaryFailure:
        try:
            other = json.loads(self.lock_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            other = {}
        pid, url = other.get("pid"), other.get("control_plane_url")
        who = f"pid {pid}" if pid else "another process"
        return TemporaryFailure(
            f"A local stack runs already in {self.folder} ({who}{f', {url}' if url else ''})",
            remedy=f"Use it (. {self.env_file}), stop it (kill {pid or 'its pid'}), or choose another --state-dir",
        )

    def key(self) -> str:
        """Return the API key; it is made at the first start. Raises ConfigurationError."""
        try:
            key = self.key_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            key = ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"The key file {self.key_file} cannot be read: {error}", remedy="Check its owner and mode"
            ) from error
        if not key:
            key = f"kby_{secrets.token_urlsafe(32)}"
            files.replace(self.key_file, key + "\n")
        return key

    def databases(self, *, ephemeral: bool) -> Path:
        """Return the folder for the databases. An ephemeral one is emptied first."""
        if not ephemeral:
            return self.folder
        folder = self.folder / "ephemeral"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def forget_databases(self) -> None:
        shutil.rmtree(self.folder / "ephemeral", ignore_errors=True)

    def log(self, name: str) -> Path:
        path = self.logs / f"{name}.log"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LOG_LIMIT:
                path.replace(path.with_name(f"{name}.log.1"))
        return path

    def write_env(self, variables: Mapping[str, str]) -> None:
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        files.replace(
            self.env_file, "# Written by kubiya dev. Prepares a shell:  . " + str(self.env_file) + "\n" + "".join(lines)
        )


def read_env(path: Path) -> dict[str, str]:
    """Return the variables of an env file; empty when there is none."""
    variables: dict[str, str] = {}
    with contextlib.suppress(OSError, UnicodeDecodeError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("export ") and "=" in line:
                name, _, value = line[len("export ") :].partition("=")
                variables[name] = "".join(shlex.split(value))
    return variables
