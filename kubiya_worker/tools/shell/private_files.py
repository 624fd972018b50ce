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

from kubiya_worker.tools.shell.command_line import CommandRefused

# Below /proc/<process>: environments, memory, and ways around the folder that a program was given.
_PROC_SECRETS: Final = re.compile(
    r"/proc/(?:[^/]+/)(?:task/[^/]+/)?(?:environ|mem|auxv|stack|syscall|maps|smaps|fd|map_files|root|cwd)(?:/|$)|/proc/k(?:core|msg)$"
)
_CONTENT_READERS: Final = frozenset("grep egrep fgrep rgrep zgrep rg ag ack tar cp rsync zip cpio scp diff".split())  # noqa: SIM905
_SEARCHERS: Final = frozenset({"grep", "egrep", "fgrep", "rgrep", "zgrep", "rg", "ag", "ack"})
_ALWAYS_RECURSIVE: Final = frozenset({"rg", "ag", "ack", "rgrep", "tar", "rsync"})
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
}
# Options whose value is a file that holds names of further files: the letter, the long option, and the byte between.
_NAME_LISTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "tar": ("T", "--files-from", "\n"),
    "rsync": ("", "--files-from", "\n"),
    "sort": ("", "--files0-from", "\0"),
    "wc": ("", "--files0-from", "\0"),
    "du": ("", "--files0-from", "\0"),
    "file": ("f", "--files-from", "\n"),
    "wget": ("i", "--input-file", "\n"),
    "git": ("", "--pathspec-from-file", "\n"),
}
LIST_LIMIT: Final = 1 << 20  # bytes of a file with names
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
    given = [str(home / ".kubiya"), environ.get("CREDENTIALS_DIRECTORY", ""), *named]
    places = [Path(place).expanduser().absolute() for place in given if place.strip()]
    return tuple(dict.fromkeys(each for place in places for each in (place, place.resolve())))


def check(name: str, arguments: Sequence[str], cwd: Path, private: Sequence[Path]) -> None:
    """Refuse arguments that lead to other processes' environments and memory, or to the worker's own files."""
    for argument in arguments:
        _check_argument(argument, cwd, private)
    for entry in _listed(name, arguments, cwd):
        if entry.startswith("-"):
            raise CommandRefused(f"{name} takes {entry[:40]!r} out of the list of names for an option")
        _check_argument(entry, cwd, private)
    if name in _CONTENT_READERS:
        for path in _read_whole(name, arguments, cwd):
            if path in ("/", "/proc") or (path.startswith("/proc/") and Path(path).is_dir()):
                raise CommandRefused(f"{name} over {path} would read the inside of all processes. Name other folders")
            if any(folder.is_relative_to(path) for folder in private):
                raise CommandRefused(f"{name} over {path} would read the worker's own files. Name other folders")
    following = _FOLLOWING.get(name)
    if following and any(following.match(argument) for argument in arguments):
        operands = [argument for argument in arguments if not argument.startswith("-")]
        _check_links(name, {str(cwd), *(path for each in operands for path in _paths(each, cwd))}, cwd, private)


def check_elsewhere(name: str, arguments: Sequence[str]) -> None:
    """Refuse arguments that lead to processes' environments and memory on another host.

    What a list of names holds there, and where links lead, cannot be seen from here. So lists are refused.
    """
    for path in (path for argument in arguments for path in _paths(argument, Path("/"))):
        if _PROC_SECRETS.search(path):
            raise CommandRefused(f"The path {path} shows the inside of a process and is not read")
    if name in _NAME_LISTS and any(_values(arguments, *_NAME_LISTS[name][:2])):
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
    for folder in private:
        if path == str(folder) or path.startswith(f"{folder}/") or _is_pattern_for(path, folder):
            if cwd.is_relative_to(folder) and Path(path).is_relative_to(cwd):
                continue  # the workspace lies in there
            raise CommandRefused(f"The path {path} belongs to the worker and is not read")


def _listed(name: str, arguments: Sequence[str], cwd: Path) -> Iterator[str]:
    """Yield the names in the files that the arguments give as lists of names. Raises Refused where one is not clear."""
    if name not in _NAME_LISTS:
        return
    letter, long, mark = _NAME_LISTS[name]
    zeros = any(option in ("--null", "-0", "--from0", "--pathspec-file-nul") for option in arguments)
    for file in _values(arguments, letter, long):
        if file in ("-", "/dev/stdin") or file.startswith(("/dev/fd/", "/proc/")):
            raise CommandRefused(f"{name} must not take names of files from its input. Name the files themselves")
        try:
            with (cwd / file).open("rb") as handle:
                data = handle.read(LIST_LIMIT + 1)
        except (OSError, ValueError) as error:
            raise CommandRefused(f"The list of names {file} cannot be read: {error}") from None
        if len(data) > LIST_LIMIT:
            raise CommandRefused(f"The list of names {file} is larger than {LIST_LIMIT} bytes")
        text = data.decode(errors="surrogateescape")
        yield from (entry for entry in text.split("\0" if zeros else mark) if entry)


def _values(arguments: Sequence[str], letter: str, long: str) -> Iterator[str]:
    """Yield the values of an option, in each way in which getopt takes it."""
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        if len(option) > 3 and option != "--file" and long.startswith(option):  # --file is tar's archive
            yield value if equals else following
        elif letter and letter in argument and re.match(r"-[A-Za-z0-9]", argument):
            attached = argument.partition(letter)[2]
            yield attached or following
            if attached:
                yield following  # letters before it may take the rest as their own value
        elif letter and index == 0 and re.fullmatch(rf"[A-Za-z]*{letter}[A-Za-z]*", argument):
            # tar's oldest form: letters without a dash, their values behind them in the same order
            yield from arguments[1 : 1 + len(argument)]


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


def _read_whole(name: str, arguments: Sequence[str], cwd: Path) -> set[str]:
    """Return the folders that a call reads with all below them; always the current one, which is the default."""
    letters = "rRa" if name in ("cp", "rsync", "diff") else "rR"
    options = [argument for argument in arguments if argument.startswith("-")]
    operands = [argument for argument in arguments if not argument.startswith("-")]
    if name not in _ALWAYS_RECURSIVE and not any(
        re.match(rf"-[A-Za-z0-9]*[{letters}]|--(rec|deref|arch)|--dir|-[A-Za-z]*d", option) for option in options
    ):
        return set()
    if name in _SEARCHERS and not any(re.match(r"-[A-Za-z0-9]*[ef]|--(re|fi)", option) for option in options):
        operands = operands[1:]  # the first one is what to look for
    return {os.path.realpath(cwd)}.union(*(_paths(operand, cwd) for operand in operands))


def _paths(argument: str, cwd: Path) -> list[str]:
    """Return the paths in an argument, with links resolved: itself, the value of an option, the text after a mark."""
    parts = {argument, argument[2:] if argument.startswith("-") else argument}
    for mark in ("=", "@", "file://", ":", ",", "<", ";"):
        parts.update(part for part in argument.split(mark)[1:] if "/" in part)
    if argument.startswith("-"):  # letters with a value behind them: -xvf/etc/passwd
        parts.update(argument[argument.index(mark) :] for mark in "/~" if mark in argument)
    parts |= {part.strip("\"'<").replace("\\", "") for part in parts}  # curl and others take quotes off themselves
    parts |= {unquote(part) for part in parts if "%" in part}
    parts |= {os.path.expanduser(part) for part in parts if part.startswith("~")}  # noqa: PTH111 - never raises
    if len(parts) > _MOST_PATHS:
        raise CommandRefused("An argument names too many paths")
    found = []
    for part in parts:
        if part and len(part) < 4096 and "\0" not in part:
            found.append(_normal(cwd / part))
            try:
                found.append(_normal(os.path.realpath(cwd / part)))
            except (OSError, ValueError):
                continue  # a link of /proc that we may not read; the path as it is written has been taken
    return found


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
