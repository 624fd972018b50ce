"""This module finds the files that a program's arguments reach, and refuses those that belong to the worker.

A path is compared after everything that a program may do with it: links, `..`, doubled slashes, quotes. If a program
takes names from a file, that file is read here too.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from kubiya_worker.tools.shell import name_lists
from kubiya_worker.tools.shell.command_line import CommandRefused

# Below /proc/<process>: environments, memory, and ways around the folder that a program was given.
_PROC_SECRETS: Final = re.compile(
    r"/proc/(?:[^/]+/)(?:task/[^/]+/)?(?:environ|mem|auxv|stack|syscall|maps|smaps|fd|map_files|root|cwd)(?:/|$)|/proc/k(?:core|msg)$"
)
_INSIDE: Final = "environ mem auxv stack syscall maps smaps fd map_files root cwd".split()  # noqa: SIM905
_PROCESS: Final = re.compile(r"/proc/(?:\d+|self|thread-self|[^/]*[*?\[][^/]*)/")
_STREAMS: Final = ("/dev/stdin", "/dev/stdout", "/dev/stderr")  # the program's own, not those of this process
_CONTENT_READERS: Final = frozenset(
    (  # noqa: SIM905
        "grep egrep fgrep rgrep zgrep rg ag ack tar cp rsync zip cpio scp diff gzip gunzip zcat pigz zstd unzstd "
        "zstdcat 7z 7za 7zr 7zz"
    ).split()
)
_SEARCHERS: Final = frozenset({"grep", "egrep", "fgrep", "rgrep", "zgrep", "rg", "ag", "ack"})
_ALWAYS_RECURSIVE: Final = frozenset({"rg", "ag", "ack", "rgrep", "tar", "rsync", "7z", "7za", "7zr", "7zz"})
# Options with which a program reads what links below a folder point to; `diff -r` and `zip -r` do so by themselves.
_FOLLOWING: Final[Mapping[str, re.Pattern[str]]] = {
    **dict.fromkeys(("grep", "egrep", "fgrep", "rgrep", "zgrep"), re.compile(r"-[A-Za-z0-9]*R|--deref")),
    **dict.fromkeys(("rg", "ack"), re.compile(r"-[A-Za-z]*L|--follow")),
    "ag": re.compile(r"-[A-Za-z]*f|--follow"),
    "tar": re.compile(r"-?[A-Za-z]*h|--deref"),
    "cp": re.compile(r"-[A-Za-z]*[LH]|--deref"),
    "rsync": re.compile(r"-[A-Za-z]*[Lk]|--copy-(?:links|dirlinks|unsafe)"),
    "diff": re.compile(r"-[A-Za-z]*r|--recursive"),
    "zip": re.compile(r"-[A-Za-z]*[rR]|--rec"),
    "scp": re.compile(r"-[A-Za-z0-9]*r"),
    "find": re.compile(r"-L$|-follow$"),
    **dict.fromkeys(("7z", "7za", "7zr", "7zz"), re.compile(r"[au]$")),
    **dict.fromkeys(
        ("gzip", "gunzip", "zcat", "pigz", "zstd", "unzstd", "zstdcat"), re.compile(r"-[A-Za-z0-9]*r|--rec")
    ),
}
_WITHOUT_DEFAULT: Final = frozenset("gzip gunzip zcat pigz zstd unzstd zstdcat 7z 7za 7zr 7zz".split())  # noqa: SIM905
_CHANGES_INTO: Final = ("-C", "--directory")
_COMPRESSORS: Final = frozenset("gzip gunzip zcat pigz zstd unzstd zstdcat".split())  # noqa: SIM905
_MOST_LINKS: Final = 40  # on one path, as the kernel has it
_MOST_PATHS: Final = 256  # in one argument; each costs a look at the file system
_MOST_ENTRIES: Final = 20_000  # below folders whose links a program follows
_ELSEWHERE: Final = Path("/.another-host")  # the folder of a program that runs there: it has no name here
# Variables that name a file with a key in it.
_KEY_FILE: Final = re.compile(
    r"(?:KEYS?|TOKEN|SECRET|PASSWORD|PASSWD)_FILE$|^TEMPORAL_TLS_KEY$|^GOOGLE_APPLICATION_CREDENTIALS$"
)


def private_places(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return where the worker's own keys are: its folder, systemd's credentials, each file that a variable names.

    A service and a container get their keys as files (`KUBIYA_API_KEY_FILE=%d/api-key`), which the worker's user can
    read, and so could what it starts.
    """
    named = [environ[name] for name in environ if _KEY_FILE.search(name)]
    named_places = [str(home / ".kubiya"), environ.get("CREDENTIALS_DIRECTORY", ""), *named]
    places = [Path(place).expanduser().absolute() for place in named_places if place.strip()]
    return tuple(dict.fromkeys(each for place in places for each in (place, place.resolve())))


def check(name: str, arguments: Sequence[str], cwd: Path, private: Sequence[Path]) -> None:
    """Refuse arguments that lead to other processes' environments and memory, or to the worker's own files."""
    folders = _folders(name, arguments, cwd)
    for argument in arguments:
        for folder in folders:
            _check_argument(argument, folder, private)
    for entry in name_lists.listed(name, arguments, cwd):
        if entry.startswith("-"):
            raise CommandRefused(f"{name} takes {entry[:40]!r} out of the list of names for an option")
        for folder in folders:
            _check_argument(entry, folder, private)
    if name in _CONTENT_READERS:
        for path in set().union(*(_read_whole(name, arguments, folder, default=folder == cwd) for folder in folders)):
            if path in ("/", "/proc") or (path.startswith("/proc/") and Path(path).is_dir()):
                raise CommandRefused(f"{name} over {path} would read the inside of all processes. Name other folders")
            if any(folder.is_relative_to(path) for folder in private):
                raise CommandRefused(f"{name} over {path} would read the worker's own files. Name other folders")
    following = _FOLLOWING.get(name)
    if following and any(following.match(argument) for argument in arguments):
        operands = [argument for argument in arguments if not argument.startswith("-")]
        own = set() if name in _WITHOUT_DEFAULT else {str(cwd)}  # others take the current folder when none is named
        _check_links(name, own.union(*(_paths(each, cwd) for each in operands)), cwd, private)


def check_elsewhere(name: str, arguments: Sequence[str]) -> None:
    """Refuse arguments that lead to processes' environments and memory on another host.

    What a list of names holds there, and where links lead, cannot be seen from here. So lists are refused.
    """
    for path in (path for argument in arguments for path in _paths(argument, Path("/"))):
        if _PROC_SECRETS.search(path):
            raise CommandRefused(f"The path {path} shows the inside of a process and is not read")
    if any(name_lists.lists(name, arguments)):
        raise CommandRefused(f"{name} must not take names of files from a list on another host. Name the files")
    if name in _CONTENT_READERS:
        for path in _read_whole(name, arguments, _ELSEWHERE):
            if path in ("/", "/proc") or path.startswith("/proc/"):
                raise CommandRefused(f"{name} over {path} would read the inside of all processes. Name other folders")


def _check_argument(argument: str, cwd: Path, private: Sequence[Path]) -> None:
    for path in _paths(argument, cwd):
        _check_path(path, cwd, private)


def _check_path(path: str, cwd: Path, private: Sequence[Path]) -> None:
    if _PROC_SECRETS.search(path):
        raise CommandRefused(f"The path {path} shows the inside of a process and is not read")
    if _may_show_inside(path):
        raise CommandRefused(f"The path {path} may show the inside of a process and is not read")
    folded = path.casefold()  # some file systems take both cases for one name
    for folder in private:
        place = str(folder).casefold()
        if folded == place or folded.startswith(f"{place}/") or _is_pattern_for(folded, Path(place)):
            if cwd.is_relative_to(folder) and Path(path).is_relative_to(cwd):
                continue  # the workspace lies in there
            raise CommandRefused(f"The path {path} belongs to the worker and is not read")


def _folders(name: str, arguments: Sequence[str], cwd: Path) -> list[Path]:
    """Return the folders from which a program sees the names that it is given: `tar -C`, or what rsync copies from."""
    folders = [cwd]
    if name == "tar":
        for value in name_lists.values(arguments, "C", "--directory"):  # each one is seen from the one before it
            folders += [Path(os.path.realpath(folder / _home(value))) for folder in folders[-1:]]
    elif name == "rsync" and any(name_lists.values(arguments, "", "--files-from")):
        folders += [cwd / _home(word) for word in arguments if not word.startswith("-")]
    return list(dict.fromkeys(folders))


def _home(name: str) -> str:
    return os.path.expanduser(name)  # noqa: PTH111 - `~nobody` must not raise


def _check_links(name: str, folders: set[str], cwd: Path, private: Sequence[Path]) -> None:
    """Refuse folders with links, at any depth, that lead to private files: the program would follow them."""
    seen: set[str] = set()
    pending = [os.path.realpath(folder) for folder in folders if Path(folder).is_dir()]
    entries = 0
    while pending:
        folder = pending.pop()
        if folder in seen:
            continue
        seen.add(folder)
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    entries += 1
                    if entries > _MOST_ENTRIES:
                        raise CommandRefused(
                            f"{name} would follow links below more than {_MOST_ENTRIES} files. Use the option that "
                            "does not follow links, or name a smaller folder"
                        )
                    if entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        if any(_PROC_SECRETS.search(step) for step in _steps(entry.path)):
                            raise CommandRefused(
                                f"{entry.path} leads through the inside of a process and is not followed"
                            )
                        _check_path(target, cwd, private)
                        if any(place.is_relative_to(target) for place in private) or target in ("/", "/proc"):
                            raise CommandRefused(
                                f"{entry.path} leads to {target}, and with it to the worker's own files"
                            )
                        if Path(target).is_dir():
                            pending.append(target)
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(os.path.realpath(entry.path))
        except OSError:
            continue  # what we may not read, the program may not read either


def _read_whole(name: str, arguments: Sequence[str], cwd: Path, *, default: bool = True) -> set[str]:
    """Return the folders that a call reads with all below them; with `default` also the current one.

    A folder that tar only changes into (`-C`) is not read whole.
    """
    if name == "tar":
        before = ("", *arguments)
        arguments = [word for word, option in zip(arguments, before, strict=False) if option not in _CHANGES_INTO]
    letters = "rRa" if name in ("cp", "rsync", "diff") else "r" if name in _COMPRESSORS else "rR"
    options = [argument for argument in arguments if argument.startswith("-")]
    operands = [argument for argument in arguments if not argument.startswith("-")]
    if name not in _ALWAYS_RECURSIVE and not any(
        re.match(rf"-[A-Za-z0-9]*[{letters}]|--(rec|deref|arch)", option)
        or (name not in _COMPRESSORS and re.match(r"--dir|-[A-Za-z]*d", option))
        for option in options
    ):
        return set()
    if name in _SEARCHERS and not any(re.match(r"-[A-Za-z0-9]*[ef]|--(re|fi)", option) for option in options):
        operands = operands[1:]  # the first one is what to look for
    return ({os.path.realpath(cwd)} if default else set()).union(*(_paths(operand, cwd) for operand in operands))


def _paths(argument: str, cwd: Path) -> list[str]:
    """Return the paths in an argument, with links resolved: itself, the value of an option, the text after a mark."""
    parts = {argument, argument[2:] if argument.startswith("-") else argument}
    for mark in ("=", "@", "file://", "file:", ":", ",", "<", ";", "(", "'", '"'):
        parts.update(part for part in argument.split(mark)[1:] if "/" in part or _is_link(cwd, part))
    if "?" in argument:  # sqlite3 file:name?mode=ro
        parts |= {part.partition("?")[0] for part in parts}
    if argument.startswith("-"):  # letters with a value behind them: -xvf/etc/passwd
        parts.update(argument[argument.index(mark) :] for mark in "/~" if mark in argument)
        parts.update(argument[at:] for at in range(2, min(len(argument), 32)) if _is_link(cwd, argument[at:]))
    parts |= {part.strip("\"'<{}").replace("\\", "") for part in parts}  # curl and others take quotes off themselves
    parts |= {unquote(part) for part in parts if "%" in part}
    parts |= {os.path.expanduser(part) for part in parts if part.startswith("~")}  # noqa: PTH111 - never raises
    if len(parts) > _MOST_PATHS:
        raise CommandRefused("An argument names too many paths")
    found = []
    for part in parts:
        if part and len(part) < 4096 and "\0" not in part:
            found.append(_normal(cwd / part))
            if found[-1] in _STREAMS:
                continue
            try:
                found.append(_normal(os.path.realpath(cwd / part)))
                found += [
                    step for step in _steps(f"{cwd}/{part}" if part[0] != "/" else part) if _PROC_SECRETS.search(step)
                ]
            except (OSError, ValueError):
                continue  # a link of /proc that we may not read; the path as it is written has been taken
    return found


def _steps(path: str) -> Iterator[str]:
    """Yield each place that the kernel comes through on a path, before it follows the link there.

    `/proc/self/cwd` is another folder for the program than for this process, so `..` behind it leads elsewhere.
    """
    place, rest, links = "/", path.split("/")[::-1], 0
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            place = os.path.dirname(place)  # noqa: PTH120 - a text, as the kernel reads it
            continue
        place = f"{place.rstrip('/')}/{part}"
        yield place
        if links < _MOST_LINKS and os.path.islink(place):  # noqa: PTH114 - it may be out of reach
            links += 1
            target = os.readlink(place)  # noqa: PTH115
            place = "/" if target.startswith("/") else os.path.dirname(place)  # noqa: PTH120
            rest += target.split("/")[::-1]


def _may_show_inside(path: str) -> bool:
    """Return whether a program that expands `*`, `?` and `[` itself could find the inside of a process by a path."""
    parts = path.split("/")[2:] if _PROCESS.match(path) else []
    for part in parts[1:]:
        if any(char in part for char in "*?[") and any(fnmatch.fnmatchcase(name, part) for name in _INSIDE):
            return True
    return False


def _is_link(cwd: Path, name: str) -> bool:
    """Return whether a word without a slash is a link, so that it leads somewhere else than its letters say."""
    return 0 < len(name) < 256 and "\0" not in name and Path(cwd, name).is_symlink()


def _is_pattern_for(path: str, place: Path) -> bool:
    """Return whether a program that expands `*`, `?` and `[` itself would find the place, or what is below it."""
    pattern, parts = Path(path).parts, place.parts
    return (
        any(char in path for char in "*?[{")
        and len(pattern) >= len(parts)
        and all(
            fnmatch.fnmatchcase(part, re.sub(r"\{[^}]*\}", "*", one)) for one, part in zip(pattern, parts, strict=False)
        )
    )


def _normal(path: str | Path) -> str:
    """Return the path without `..`, and with one slash at its beginning, where POSIX lets two stand."""
    normal = os.path.normpath(path)
    return normal[1:] if normal.startswith("//") else normal
