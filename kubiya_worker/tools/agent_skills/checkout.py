"""Fetch one commit of a Git repository into the worker's folder, once; a commit's hash says what its files are.

Nothing of the repository is run: no hooks, no filters, no submodules. What is there once is not asked for again, so a
run needs the repository's server only the first time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError

TIMEOUT: Final = 120.0  # seconds of one git command
AGAIN: Final = 60.0  # seconds until a commit that could not be fetched is tried again
URL: Final = re.compile(r"(?:https://[A-Za-z0-9._-]+(?::\d+)?|file://)/[^\s@?#\\]+")
COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SAFE: Final = (
    *("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-c", "protocol.allow=never"),
    *("-c", "protocol.https.allow=always", "-c", "protocol.file.allow=always", "-c", "submodule.recurse=false"),
    *("-c", "credential.helper=", "-c", "init.defaultBranch=main", "-c", "advice.detachedHead=false"),
)
_PASSED: Final = re.compile(
    r"(?i:https?_proxy|no_proxy|all_proxy)|SSL_CERT_(?:FILE|DIR)|GIT_SSL_CAINFO|PATH|LANG|TMPDIR"
)
_lock = threading.Lock()
_failed: dict[Path, tuple[float, str]] = {}


def place_of(url: str, commit: str, home: Path | None = None) -> Path:
    """Return the folder of a commit in the worker's own folder, which no tool can write to."""
    base = (home or Path.home()) / ".kubiya" / "agent-skills"
    return base / hashlib.sha256(url.encode()).hexdigest()[:24] / commit


def fetch(url: str, commit: str) -> Path:
    """Return the folder of the commit's files; blocking where it has to be fetched. Raises ConfigurationError."""
    place = place_of(url, commit)
    if place.is_dir():
        return place
    with _lock:  # executions begin at the same time, with the same skills
        when, why = _failed.get(place, (0.0, ""))
        if place.is_dir():
            return place
        if why and time.monotonic() - when < AGAIN:
            raise _error(url, commit, why)
        try:
            _fetch(url, commit, place)
        except (OSError, subprocess.SubprocessError) as error:
            why = _reason(error)
            _failed[place] = (time.monotonic(), why)
            raise _error(url, commit, why) from None
    return place


def _fetch(url: str, commit: str, place: Path) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as folder:
        _git(folder, "init", "--quiet", "--template=", *(["--object-format=sha256"] if len(commit) == 64 else []))
        try:
            _git(folder, "fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit)
        except subprocess.CalledProcessError:  # a server that gives no single commits
            _git(folder, "fetch", "--quiet", "--no-tags", "--", url, "+refs/heads/*:refs/remotes/origin/*")
        _git(folder, "checkout", "--quiet", "--detach", commit)
        head = _git(folder, "rev-parse", "HEAD")
        if head != commit:
            raise OSError(f"the server gave {head}")
        shutil.rmtree(Path(folder, ".git"))
        checked = Path(folder, "..", f".{place.name}.{os.getpid()}").resolve()
        shutil.move(folder, checked)
        Path(folder).mkdir()  # the block removes it
        try:
            checked.rename(place)
        except OSError:
            shutil.rmtree(checked, ignore_errors=True)
            if not place.is_dir():  # else another worker of this host was faster
                raise


def _git(folder: str, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    environment |= {"HOME": folder, "GIT_LFS_SKIP_SMUDGE": "1"}
    done = subprocess.run(
        ["git", *_SAFE, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT,
        check=True,
    )
    return done.stdout.strip()


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr or "").strip().splitlines()
        return lines[-1][:300] if lines else f"git ended with {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"git took more than {TIMEOUT:g} seconds"
    if isinstance(error, FileNotFoundError) and error.filename == "git":
        return "this host has no git"
    return str(error)[:300]


def _error(url: str, commit: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the commit {commit[:12]} of {url} cannot be had: {why}",
        remedy="Check `git` and `commit` of the skill, and whether the worker's host reaches that server",
    )
