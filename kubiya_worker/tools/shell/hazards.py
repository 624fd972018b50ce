"""This module decides what programs may be given: their options by a table, the rest by a rule for each program.

A list of allowed programs is worth nothing if `find -exec`, `sort --compress-program` or `tar --to-command` lead out of
it. `hazard` names the part of one program's arguments that is not known to be harmless, or returns None. Interpreters
are not restricted here: allowing `python3` allows everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from kubiya_worker.tools.shell import awk_program, curl_addresses, git_options, sed_script, subcommands
from kubiya_worker.tools.shell.option_tables import TABLE
from kubiya_worker.tools.shell.options import Arguments, Given, Place
from kubiya_worker.tools.shell.process_list import check as ps

Rule = Callable[[Given, Place], str | None]


def _at_most(count: int, why: str) -> Rule:
    def rule(given: Given, place: Place) -> str | None:
        return f"{given.operands[count]}, {why}" if len(given.operands) > count else None

    return rule


def _without(pattern: str, why: str) -> Rule:
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)

    def rule(given: Given, place: Place) -> str | None:
        texts = (*given.operands, *(value for _, value in given.options))
        return next((f"{text[:80]}, {why}" for text in texts if compiled.search(text)), None)

    return rule


def _tar(given: Given, place: Place) -> str | None:
    archive = given.values("-f", "--file")
    for name in archive:
        if re.match(r"[A-Za-z0-9_.@-]+:", name):
            return f"{name}, which is an archive on another host"
    reading = given.has("-t", "--list", "-d", "--diff", "--compare", "-x", "--extract", "--get")
    if not reading:
        outside = next((name for name in archive if place.outside(name)), "")
        return f"{outside}, which writes outside of the workspace" if outside else None
    if given.has("-x", "--extract", "--get") and not given.has("-O", "--to-stdout"):
        if place.nowhere:
            return "-x on another host, where it writes into the folder that it runs in"
        if given.has("-P", "--absolute-names"):
            return "-P, by which an archive writes outside of the workspace"
        outside = next((name for name in given.values("-C", "--directory") if place.outside(name)), "")
        return f"{outside}, which writes outside of the workspace" if outside else None
    return None


def _date(given: Given, place: Place) -> str | None:
    return next((f"{word}, which would set the clock" for word in given.operands if not word.startswith("+")), None)


def _ssh(given: Given, place: Place) -> str | None:
    host = given.operands[0] if given.operands else ""
    return f"the host {host}" if host.startswith("-") else None


_PSQL_COMMAND: Final = re.compile(
    r"\s*\\(d[A-Za-z]*[+S]*|l\+?|x|z|sf|sv|conninfo|timing|encoding|dconfig\+?)(\s+[\w.*\"$-]+)?\s*"
)


def _psql(given: Given, place: Place) -> str | None:
    for text in given.values("-c", "--command"):
        if "\\" in text and not _PSQL_COMMAND.fullmatch(text):
            return f"{text[:80]}: of psql's own commands, only those that describe are allowed"
    return _without(r"\bprogram\b|pg_(read|ls|stat_file|execute)|lo_(im|ex)port|service=|passfile=", _REACHES)(
        given, place
    )


_REACHES: Final = "which reaches files or programs"
_WRITES_IT: Final = "a second file, which it writes to"
RULES: Final[Mapping[str, Rule]] = {
    "tar": _tar,
    "date": _date,
    "ssh": _ssh,
    "psql": _psql,
    "curl": curl_addresses.check,
    "uniq": _at_most(1, _WRITES_IT),
    "xxd": _at_most(1, _WRITES_IT),
    "hostname": _at_most(0, "which would set the host's name"),
    "split": lambda given, place: _prefix(given, 1, place),
    "zip": lambda given, place: _prefix(given, 0, place),
    "unzip": lambda given, place: None,
    "tee": lambda given, place: next(
        (f"{o}, outside of the workspace" for o in given.operands if place.outside(o)), None
    ),
    "less": _without(r"^\+", "which is a command of less"),
    "more": _without(r"^\+", "which is a command of more"),
    "strings": _without(r"^@", "which names a file with options"),
    "nm": _without(r"^@", "which names a file with options"),
    "objdump": _without(r"^@", "which names a file with options"),
    "readelf": _without(r"^@", "which names a file with options"),
    "jq": _without(r"\b(import|include)\b|\binput_filename\b.*\bget_search_list\b", "which loads files"),
    "sqlite3": _without(
        r"^\s*\.|\b(load_extension|readfile|writefile|edit|fsdir|lsdir|fts3_tokenizer|zipfile|sqlar_\w+)\s*\("
        r"|\battach\b|\bvacuum\b.*\binto\b|\bfsdir\b|\bcreate\s+virtual\b",
        _REACHES,
    ),
    "mysql": _without(
        r"\\[!.TPeRdGu]|(^|;)\s*(system|source|tee|pager|edit|nopager|prompt|delimiter)\b|\binto\s+(outfile|dumpfile)\b"
        r"|\bload_file\s*\(|\bload\s+(data|xml)\b",
        _REACHES,
    ),
}


def _prefix(given: Given, position: int, place: Place) -> str | None:
    names = given.operands[position : position + 1]
    return next((f"{name}, which writes outside of the workspace" for name in names if place.outside(name)), None)


CHECKS: Final[Mapping[str, Callable[[Arguments, Place], str | None]]] = {
    **dict.fromkeys(("sed", "gsed"), sed_script.check),
    **dict.fromkeys(("awk", "gawk", "mawk", "nawk", "original-awk"), awk_program.check),
    "ps": lambda arguments, place: ps(arguments),
    "git": lambda arguments, place: git_options.check(arguments),
    "ip": lambda arguments, place: subcommands.ip(arguments),
    "bsdtar": lambda arguments, place: "anything: use tar",
    "lftp": lambda arguments, place: "anything: it runs programs. Use curl",
    "socat": lambda arguments, place: "anything: its addresses run programs and open files. Use nc or curl",
    "hg": lambda arguments, place: subcommands.hg(arguments, place),
    **{name: each.check for name, each in subcommands.PROGRAMS.items()},
}


# They write into the folder that they run in. On another host that is a home, with `.ssh` and `.profile` in it.
_WRITE_WHERE_THEY_RUN: Final = frozenset({"cpio", "csplit", "rsync", "scp", "sftp", "unzip", "wget"})


def hazard(program: str, arguments: Arguments, place: Place | None = None) -> str | None:
    """Return, in a few words, why `program` must not run with these arguments; None if it may."""
    place = place or Place()
    if place.nowhere and program in _WRITE_WHERE_THEY_RUN:
        return f"{program} is not run on another host: it writes into the folder that it runs in"
    if program in CHECKS:
        found = CHECKS[program](arguments, place)
        return f"{program} is not run with {found}" if found else None
    if program not in TABLE:
        return None
    given = TABLE[program].read(_dashed(program, arguments), place)
    rule = RULES.get(program)
    found = given.refused or (rule(given, place) if rule else None)
    return f"{program} is not run with {found}" if found else None


def _dashed(program: str, arguments: Arguments) -> Arguments:
    """Return tar's oldest form, letters without a dash, as options with their values."""
    if program != "tar" or not arguments or arguments[0].startswith("-"):
        return arguments
    letters, rest = arguments[0], list(arguments[1:])
    written: list[str] = []
    for letter in letters:
        written.append(f"-{letter}")
        if letter in TABLE["tar"].valued and rest:
            written.append(rest.pop(0))
    return [*written, *rest]
