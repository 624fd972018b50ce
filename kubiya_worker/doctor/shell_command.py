"""Find out which `kubiya` the shell means: this one, another program, or a second installation of this package.

No program is started to find out: a Python script names the package that it runs, and pip's records name the version.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubiya_worker.doctor.check import PASS, WARN, Finding

COMMAND: Final = "kubiya"
HEAD: Final = 4096  # bytes of a script: pip, pipx and uv name the package in the first lines
MARKS: Final = (b"kubiya_worker", b"kubiya-worker")


@dataclass(frozen=True)
class Installed:
    """Describe a program `kubiya`. `version` is that of kubiya-worker, empty where it is not known."""

    path: Path
    ours: bool  # of this package
    version: str = ""

    def __str__(self) -> str:
        if not self.ours:
            return f"{self.path}, another program of that name"
        return f"{self.path}, another installation of kubiya-worker{f' ({self.version})' if self.version else ''}"


def finding(environ: Mapping[str, str], folder: Path = Path(sys.executable).parent) -> Finding:
    """Check that the shell's `kubiya` is the one in `folder`."""
    ours = folder / COMMAND
    programs = list(on_path(environ))
    others = [path for path in programs if path.resolve() != ours.resolve()]
    if not ours.is_file() or not others:
        return Finding(PASS, f"{ours if ours.is_file() else sys.executable}")
    other = examine(others[0])
    if programs[0] == other.path:
        remedy = f'Call {ours}, or put it first: export PATH="{folder}:$PATH"'
        if other.ours:
            remedy += "; or remove one of the two, in the way in which it was installed"
        return Finding(WARN, f"`{COMMAND}` in this shell is {other}; this one is {ours}", remedy)
    return Finding(PASS, f"{ours}, before {other}")


def on_path(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield each program `kubiya` on PATH, in the shell's order. A link and its target are one, by the first name.

    A folder that this user may not look into is passed over, as the shell does.
    """
    seen: set[Path] = set()
    for folder in environ.get("PATH", "").split(os.pathsep):
        path = Path(folder) / COMMAND
        if folder and _is_program(path) and path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def _is_program(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.X_OK)
    except OSError:  # this user may not look into its folder
        return False


def examine(path: Path) -> Installed:
    """Say what a program is, from its first lines and from what is installed beside it."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        head = b""
    if not any(mark in head for mark in MARKS):
        return Installed(path, ours=False)
    records = path.resolve().parent.parent.glob("lib/python3*/site-packages/kubiya_worker-*.dist-info")
    versions = [record.name.removesuffix(".dist-info").partition("-")[2] for record in records]
    return Installed(path, ours=True, version=versions[0] if len(versions) == 1 else "")
