"""Decide which package a worker's environment holds: the running installation, or the version that was asked for.

A version is never newer than the one that a person installed or named: the default is the running installation.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import site
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kubiya_worker import __version__
from kubiya_worker.errors import ConfigurationError, UsageError
from kubiya_worker.settings import Settings

NAME: Final = "kubiya-worker"
VERSION: Final = re.compile(r"\d+(\.\d+)*([abc.+-]?[A-Za-z0-9]+)*")
REPOSITORY: Final = re.compile(
    r"([A-Za-z0-9_][A-Za-z0-9_.-]*)/([A-Za-z0-9_][A-Za-z0-9_.-]*)@([A-Za-z0-9_][A-Za-z0-9_./-]*)"
)
MARK: Final = "# Your own requirements, below this line, are installed on top at the next start."
HEAD: Final = "# The worker itself. Written by `kubiya worker start`."


@dataclass(frozen=True)
class Interpreter:
    """A Python of this host. `prefix` tells installations apart, whatever link led to them."""

    path: str
    prefix: str
    version: tuple[int, int, int]


@dataclass(frozen=True)
class Plan:
    """The content of a venv. It uses the running installation through `folders`, or `requirement` is installed."""

    python: Interpreter
    requirement: str  # a line of requirements.txt
    folders: tuple[str, ...]  # site folders of the running installation
    own: str  # the queue's own requirements, without comments
    stamp: str = ""  # of a file that is installed

    @property
    def fingerprint(self) -> str:
        shown = [self.python.prefix, self.python.version, self.requirement, self.folders, self.own, self.stamp]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def running_python() -> Interpreter:
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Interpreter(base, str(Path(sys.base_prefix).resolve()), sys.version_info[:3])


def plan(settings: Settings, python: Interpreter, own_requirements: str) -> Plan:
    """Make the plan from the settings. Raises UsageError and ConfigurationError for settings that make no sense."""
    requested = _requested(settings)
    same = (python.prefix, python.version) == (running_python().prefix, running_python().version)
    if requested is None and same:
        return Plan(python, running_requirement(), site_folders(), own_requirements)
    requirement, stamp = requested or (running_requirement(), "")
    return Plan(python, requirement, (), own_requirements, stamp)


def _requested(settings: Settings) -> tuple[str, str] | None:
    """Return the requirement that flags or variables name, and a stamp of its file; None for the running one."""
    flags = {
        "--package-version": settings.package_version,
        "--local-wheel": settings.local_wheel,
        "--package-source": settings.package_source,
    }
    named = [(flag, value) for flag, value in flags.items() if value]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(flag for flag, _ in named)} contradict each other", remedy="Give one of them")
    if not named:
        return None
    flag, value = named[0]
    if flag == "--local-wheel" or (flag == "--package-source" and value.endswith((".whl", ".tar.gz", ".zip"))):
        return _file(flag, value)
    if VERSION.fullmatch(value):
        return None if value == __version__ else (f"{NAME}=={value}", "")
    if flag == "--package-source":
        repository = REPOSITORY.fullmatch(value)
        if repository:
            return f"{NAME} @ git+https://github.com/{repository[1]}/{repository[2]}@{repository[3]}", ""
        if value.startswith("git+https://") and value.isprintable() and " " not in value:
            if urlsplit(value).password:
                raise UsageError("A source with a password in it would be written to files", remedy="Use a netrc file")
            return f"{NAME} @ {value}", ""
    raise UsageError(
        f"{flag} {value!r} is not {'a version' if flag == '--package-version' else 'something to install'}",
        remedy="Such as 1.0.0" + ("" if flag == "--package-version" else ", a file, git+https://…, owner/repo@ref"),
    )


def _file(flag: str, value: str) -> tuple[str, str]:
    path = Path(value.removeprefix("file://")).expanduser().absolute()
    try:
        about = path.stat()
    except OSError as error:
        raise ConfigurationError(f"{flag} {value} cannot be read: {error.strerror}", remedy="Check the path") from error
    return f"{NAME} @ {path.as_uri()}", f"{about.st_size} {about.st_mtime_ns}"


def running_requirement() -> str:
    """Return the line of requirements.txt that installs the running worker in any Python (its origin is in PEP 610)."""
    distributions = list(importlib.metadata.distributions(name=NAME))
    origin = next((known for each in distributions if (known := _origin(each))), None)
    if origin is None:
        project = Path(project_folder())
        if not distributions or (project / "pyproject.toml").exists():  # a source tree on PYTHONPATH
            return f"-e {project}"
        return f"{NAME}=={distributions[0].version}"
    url, vcs = str(origin["url"]), origin.get("vcs_info")
    if isinstance(vcs, dict) and vcs.get("vcs"):
        return f"{NAME} @ {vcs['vcs']}+{url}@{vcs.get('commit_id') or vcs.get('requested_revision') or 'HEAD'}"
    if (origin.get("dir_info") or {}).get("editable"):
        return f"-e {unquote(urlsplit(url).path)}"
    return f"{NAME} @ {url}"


def _origin(distribution: importlib.metadata.Distribution) -> dict[str, Any] | None:
    """Return the source of the installation, if it was not an index; else None."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "null")
    except ValueError:
        return None
    return origin if isinstance(origin, dict) and origin.get("url") else None


def project_folder() -> str:
    """Return the folder that must be on sys.path so that this same code is found."""
    spec = importlib.util.find_spec("kubiya_worker")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).resolve().parents[1])


def site_folders() -> tuple[str, ...]:
    """Return the running installation's package folders; before them the project's folder, if it is not one of them."""
    folders = [folder for folder in site.getsitepackages() if Path(folder).is_dir()]
    if site.ENABLE_USER_SITE and Path(site.getusersitepackages()).is_dir():
        folders.append(site.getusersitepackages())
    project = project_folder()
    return (*([] if project in map(_real, folders) else [project]), *folders)


def _real(folder: str) -> str:
    return str(Path(folder).resolve())


def requirements_text(requirement: str, before: str) -> str:
    """Return the new text of the file: our part is replaced, the person's part is kept."""
    return f"{HEAD}\n{requirement}\n\n{MARK}\n{_persons_part(before)}"


def own_requirements(text: str) -> str:
    """Return the requirements that a person has added, without comments and blank lines."""
    lines = (line.strip() for line in _persons_part(text).splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def _persons_part(text: str) -> str:
    if MARK in text:
        return text.partition(MARK)[2].lstrip("\n")
    if text.startswith(HEAD):
        return ""  # the file ends inside our part
    return text
