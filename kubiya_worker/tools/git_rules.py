"""This module decides where git may work, and in which repositories, when it is an allowed program."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

# Settings of a repository that run nothing. All others are refused, as dozens of them name a program.
_SETTINGS: Final = re.compile(
    r"core\.(repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks|autocrlf|eol"
    r"|safecrlf|sharedrepository|quotepath|abbrev|compression|bigfilethreshold|sparsecheckout.*|untrackedcache|longpaths)"
    r"|extensions\..+|user\.(name|email)|author\..+|committer\..+|init\.defaultbranch"
    r"|remote\..+\.(url|fetch|pushurl|push|tagopt|prune|mirror|promisor|partialclonefilter|skipdefaultupdate)"
    r"|branch\..+|pull\.(rebase|ff)|push\.(default|autosetupremote|followtags)|fetch\.(prune|prunetags)|rebase\.auto.*"
    r"|submodule\.(.+\.)?(url|active|path|branch|recurse)|advice\..+|color\..+|gc\..+|index\..+|pack\..+|status\..+"
    r"|log\.(date|decorate)|merge\.(ff|conflictstyle|renamelimit)|diff\.(renames|renamelimit|algorithm|mnemonicprefix)",
    re.IGNORECASE,
)


def outside(program: str, arguments: Sequence[str], cwd: Path, roots: Sequence[Path]) -> str | None:
    """Return why git must not be run: it would leave `roots`, or work in a repository that could name programs.

    `program` is git itself, which reads a repository's configuration here. Such a repository comes with a clone (a bare
    one, as plain files) or out of an archive, its configuration with it.
    """
    folder = cwd
    index = 0
    while index + 1 < len(arguments) and arguments[index].startswith("-"):
        if arguments[index] == "-C":
            index += 1
            folder = folder / arguments[index]
        index += 1
    if not _inside(folder, roots):
        return f"the folder {folder}, which is outside of the workspace"
    place = _repository(Path(os.path.realpath(folder)))
    if place is not None and place.name != ".git":
        return f"the bare repository {place}, whose configuration could name programs"
    if place is not None and (setting := _unknown_setting(program, place)):
        return f"the setting {setting} of the repository {place.parent}, by which git could run a program"
    for argument in arguments[index:]:
        for part in _paths(argument):
            if part != "/dev/null" and not _inside(folder / part, roots):
                return f"{part[:80]}, which is outside of the workspace"
    return None


def _paths(argument: str) -> Iterator[str]:
    """Yield the paths that an argument may name, without addresses of other hosts."""
    values = [argument.partition("=")[2]] if argument.startswith("--") else [argument, argument[2:]]
    for value in values:
        if value.lower().startswith("file:"):
            yield "/" + value.partition(":")[2].lstrip("/").removeprefix("localhost/")
        elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/:]+@?[^/:]*:(?!/)", value):
            continue  # https://…, git@host:path, HEAD:file
        elif value.startswith(("/", "~")) or ".." in value.split("/"):
            yield str(Path(value).expanduser())
        elif value and not value.startswith("-"):
            yield value  # relative, through a link perhaps


def _inside(path: Path, roots: Sequence[Path]) -> bool:
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(root)) for root in roots)


def _repository(folder: Path) -> Path | None:
    """Return the `.git` or the bare repository that git finds from a folder; None where there is none."""
    for place in (folder, *folder.parents):
        if (place / ".git").exists():
            return place / ".git"
        if all((place / name).exists() for name in ("HEAD", "objects", "refs")):
            return place
    return None


def _unknown_setting(program: str, place: Path) -> str | None:
    """Return the first setting of a repository's own configuration that is not known to run nothing."""
    common = place
    if place.is_file():  # a worktree: `gitdir: …/.git/worktrees/name`
        text = place.read_text(errors="replace").partition(":")[2].strip()
        common = Path(os.path.realpath(place.parent / text)).parents[1]
    for config in (common / "config", common / "config.worktree"):
        if not config.is_file():
            continue
        argv = [program, "config", "--file", str(config), "--no-includes", "--list", "--name-only", "-z"]
        listed = subprocess.run(argv, capture_output=True, env={"LANG": "C"}, stdin=subprocess.DEVNULL, check=False)
        if listed.returncode:
            return "(its configuration cannot be read)"
        names = listed.stdout.decode(errors="replace").split("\0")
        unknown = next((name for name in names if name and not _SETTINGS.fullmatch(name)), None)
        if unknown:
            return unknown
    return None
