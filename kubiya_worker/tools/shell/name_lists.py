"""This module finds names of files that a program takes out of another file: `tar -T`, `sha256sum -c`, `7z @list`.

What is in such a file is as much an argument as what stands in the line. So each file is read here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from kubiya_worker.tools.shell.command_line import CommandRefused

# Options whose value is a file that holds names of further files: the letter, the long option, and the byte between.
_NAME_LISTS: Final[Mapping[str, tuple[str, str, str]]] = {
    **dict.fromkeys(("xz", "unxz", "xzcat", "lzma", "unlzma", "lzcat"), ("", "--files", "\n")),
    "tar": ("T", "--files-from", "\n"),
    "rsync": ("", "--files-from", "\n"),
    "sort": ("", "--files0-from", "\0"),
    "wc": ("", "--files0-from", "\0"),
    "du": ("", "--files0-from", "\0"),
    "file": ("f", "--files-from", "\n"),
    "wget": ("i", "--input-file", "\n"),
    "git": ("", "--pathspec-from-file", "\n"),
}
_SEVEN_ZIP: Final = frozenset({"7z", "7za", "7zr", "7zz"})
# `sha256sum -c FILE`: each line of FILE names a file, behind its sum or in parentheses.
_CHECKING: Final = re.compile(r"(?:md5|sha\d+|b2|b3|xxh\w+)(?:sum)?|cksum|shasum")
_CHECK_OPTION: Final = re.compile(r"-[a-zA-Z]*c[a-zA-Z]*|--c(?:h(?:e(?:ck?)?)?)?")
_CHECKED_NAMES: Final = (
    re.compile(r"\\?[A-Za-z0-9+/=:-]+ [ *]?(.+)"),
    re.compile(r"\\?[\w/-]+ ?\((.+)\) ?= ?.*"),
)
_XZ_LISTS: Final = re.compile(r"--files0?(?:=(?P<file>.*))?", re.DOTALL)
LIST_LIMIT: Final = 1 << 20  # bytes of a file with names


def lists(name: str, arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the files that hold names, with the byte between the names; "-" is the input."""
    if name in _SEVEN_ZIP:
        for word in arguments:
            if found := re.fullmatch(r"(?:-[ix]r?[-0]?)?@(.*)", word, re.DOTALL):
                yield found[1] or "-", "\n"
    elif name.startswith(("xz", "unxz", "lz", "unlz")) and name in _NAME_LISTS:
        for word in arguments:
            if word.startswith("--fil"):  # `--file` is an abbreviation
                found = _XZ_LISTS.fullmatch(word)
                yield (found and found["file"]) or "-", "\0" if word.startswith("--files0") else "\n"
    elif _CHECKING.fullmatch(name) and any(_CHECK_OPTION.fullmatch(word) for word in arguments):
        files = [word for word in arguments if not word.startswith("-") or word == "-"]
        yield from ((file, "\n") for file in files or ["-"])
    elif name in _NAME_LISTS:
        letter, long, mark = _NAME_LISTS[name]
        zeros = any(option in ("--null", "-0", "--from0", "--pathspec-file-nul") for option in arguments)
        yield from ((file, "\0" if zeros else mark) for file in values(arguments, letter, long))


def listed(name: str, arguments: Sequence[str], cwd: Path) -> Iterator[str]:
    """Yield the names in the files that the arguments give as lists of names.

    Raises CommandRefused for a list that cannot be read here.
    """
    for file, mark in lists(name, arguments):
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
        entries = [entry for entry in text.split(mark) if entry.strip()]
        if _CHECKING.fullmatch(name):
            found = [form.fullmatch(entry.strip()) for entry in entries for form in _CHECKED_NAMES]
            entries = [each[1] for each in found if each]  # other lines are none for the program
        yield from entries


def values(arguments: Sequence[str], letter: str, long: str) -> Iterator[str]:
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
