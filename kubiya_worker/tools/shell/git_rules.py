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
    r"|branch\..+\.(remote|merge|rebase|description|pushremote)|pull\.(rebase|ff)|push\.(default|autosetupremote|followtags)|fetch\.(prune|prunetags)|rebase\.auto.*"
    r"|submodule\.(.+\.)?(url|active|path|branch|recurse)|advice\..+|color\..+|status\..+"
    r"|gc\.(auto|autodetach|autopacklimit|aggressive.*|pruneexpire|reflogexpire.*|worktreepruneexpire|packrefs|logexpiry)"
    r"|index\.(version|threads|sparse|recordendofindexentries|recordoffsettable|skiphash)"
    r"|pack\.(threads|window.*|depth|compression|indexversion|usebitmaps|usesparse|writebitmap.*|allowpackreuse)"
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
    for place in _repositories(Path(os.path.realpath(folder))):
        if place.name != ".git":
            return f"the bare repository {place}, whose configuration could name programs"
        if setting := _unknown_setting(program, place, roots):
            return f"the setting {setting} of the repository {place.parent}, by which git could run a program"
    for argument in _without_texts(arguments[index:]):
        for part in _paths(argument):
            if part != "/dev/null" and not _inside(folder / part, roots):
                return f"{part[:80]}, which is outside of the workspace"
    return None


# Options whose value git takes for text in each of its commands, and those with a value behind them in some.
_TEXT: Final = re.compile(
    r"--(?:message|grep|author|committer|format|pretty|since|until|after|before|date|subject-prefix|grep-reflog|sort"
    r"|trailer|word-diff-regex|ignore-matching-lines)=.*",
    re.DOTALL,
)
_TEXT_BEHIND: Final = {
    **dict.fromkeys(("commit", "tag", "merge", "stash"), ("-m", "-am")),
    **dict.fromkeys(("log", "diff", "show", "whatchanged", "rev-list", "diff-tree"), ("-S", "-G")),
    "grep": ("-e",),
}


def _without_texts(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command without those that git takes for a text or a pattern, not for a file."""
    command, rest = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    behind = _TEXT_BEHIND.get(command, ())
    # Its first operand is the pattern, unless an option has given one.
    pattern = command == "grep" and not any(re.match(r"-[A-Za-z0-9]*[ef]", word) for word in rest)
    kept: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*kept, *rest]
        if word in behind:
            rest = rest[1:]
        elif pattern and not word.startswith("-"):
            pattern = False
        elif not (_TEXT.fullmatch(word) or (word.startswith(behind) and word[:2] in ("-S", "-G", "-m"))):
            kept.append(word)
    return kept


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


def _repositories(folder: Path) -> Iterator[Path]:
    """Yield each `.git` or bare repository that git may take, from a folder upwards.

    Git passes over a `.git` that is no repository, so the search ends only at one that surely is.
    """
    for place in (folder, *folder.parents):
        found = place / ".git"
        if os.path.lexists(found):
            yield found
            if found.is_file() or _is_repository(found):
                return
        elif _is_repository(place):
            yield place
            return


def _is_repository(place: Path) -> bool:
    return all((place / name).exists() for name in ("HEAD", "objects", "refs"))


def _unknown_setting(program: str, place: Path, roots: Sequence[Path]) -> str | None:
    """Return the first setting of a repository's own configuration that is not known to run nothing."""
    folder = Path(os.path.realpath(place))
    if place.is_file():  # of a worktree or a submodule: `gitdir: …/.git/worktrees/name`
        text = place.read_text(errors="replace").partition(":")[2].strip()
        folder = Path(os.path.realpath(place.parent / text))
    common = folder
    if (folder / "commondir").is_file():
        common = Path(os.path.realpath(folder / (folder / "commondir").read_text(errors="replace").strip()))
    inside = any(_inside(place.parent, (root,)) for root in roots)
    if inside and not (_inside(folder, roots) and _inside(common, roots)):
        return "(its configuration lies outside of the workspace)"
    for config in dict.fromkeys((common / "config", common / "config.worktree", folder / "config.worktree")):
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
