"""This module decides what programs may be given: their options by a table, the rest by a rule for each program.

A list of allowed programs is worth nothing if `find -exec`, `sort --compress-program` or `tar --to-command` lead out of
it. `hazard` names the part of one program's arguments that is not known to be harmless, or returns None. Interpreters
are not restricted here: allowing `python3` allows everything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from kubiya_worker.tools.shell import (
    administration,
    awk_program,
    changed_files,
    compilers,
    curl_addresses,
    git_options,
    launchers,
    output_options,
    sed_script,
    ssh_programs,
    subcommands,
)
from kubiya_worker.tools.shell.option_tables import TABLE
from kubiya_worker.tools.shell.options import Arguments, ParsedArguments, Place
from kubiya_worker.tools.shell.process_list import check as ps

Rule = Callable[[ParsedArguments, Place], str | None]


def _at_most(count: int, why: str) -> Rule:
    def rule(parsed: ParsedArguments, place: Place) -> str | None:
        return f"{parsed.operands[count]}, {why}" if len(parsed.operands) > count else None

    return rule


def _without(pattern: str, why: str) -> Rule:
    compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)

    def rule(parsed: ParsedArguments, place: Place) -> str | None:
        texts = (*parsed.operands, *(value for _, value in parsed.options))
        return next((f"{text[:80]}, {why}" for text in texts if compiled.search(text)), None)

    return rule


def _tar(parsed: ParsedArguments, place: Place) -> str | None:
    archive = parsed.values("-f", "--file")
    for name in archive:
        if ":" in name.split("/")[0]:
            return f"{name}, which is an archive on another host"
    reading = parsed.has("-t", "--list", "-d", "--diff", "--compare", "-x", "--extract", "--get")
    if not reading:
        outside = next((name for name in archive if place.outside(name)), "")
        return f"{outside}, which writes outside of the workspace" if outside else None
    if parsed.has("-x", "--extract", "--get") and not parsed.has("-O", "--to-stdout"):
        if place.elsewhere:
            return "-x on another host, where it writes into the folder that it runs in"
        if parsed.has("-P", "--absolute-names"):
            return "-P, by which an archive writes outside of the workspace"
        folder, folders = place, [*parsed.values("--one-top-level")]
        for name in parsed.values("-C", "--directory"):  # each one is seen from the one before it
            if folder.outside(name):
                return f"{name}, which writes outside of the workspace"
            folder = Place(Path(os.path.realpath(folder.cwd / name)), place.roots)
        outside = next((name for name in folders if name and folder.outside(name)), "")
        if parsed.has("-h", "--dereference"):
            return "-h, by which it would write through links"
        if outside:
            return f"{outside}, which writes outside of the workspace"
        return changed_files.link_below(str(folder.cwd), place)
    return None


def _date(parsed: ParsedArguments, place: Place) -> str | None:
    return next((f"{word}, which would set the clock" for word in parsed.operands if not word.startswith("+")), None)


_PSQL_COMMAND: Final = re.compile(
    r"\s*\\(d[A-Za-z]*[+S]*|l\+?|x|z|sf|sv|conninfo|timing|encoding|dconfig\+?)(\s+[\w.*\"$-]+)?\s*"
)


def _psql(parsed: ParsedArguments, place: Place) -> str | None:
    for text in parsed.values("-c", "--command"):
        if "\\" in text and not _PSQL_COMMAND.fullmatch(text):
            return f"{text[:80]}: of psql's own commands, only those that describe are allowed"
    return _without(r"\bprogram\b|pg_(read|ls|stat_file|execute)|lo_(im|ex)port|service=|passfile=", _REACHES)(
        parsed, place
    )


def _written_outside(parsed: ParsedArguments, position: int, place: Place, *, every: bool = False) -> str | None:
    """Return the operand at a position, or with `every` any operand, if it is a file outside of the workspace."""
    names = parsed.operands if every else parsed.operands[position : position + 1]
    return next((f"{name}, which writes outside of the workspace" for name in names if place.outside(name)), None)


_RPM_ASKS: Final = ("-q", "-V", "-K", "--query", "--verify", "--checksig", "--version", "--help")


def _unzip(parsed: ParsedArguments, place: Place) -> str | None:
    if parsed.has("-l", "-v", "-t", "-p", "-z", "-Z"):
        return None
    return next(filter(None, (changed_files.link_below(to, place) for to in parsed.values("-d") or ["."])), None)


def _openssl(parsed: ParsedArguments, place: Place) -> str | None:
    """Return a password that openssl would take from a file, a descriptor or its input."""
    wrong = (value for value in parsed.values("-passin", "-passout") if not value.startswith(("pass:", "env:")))
    return next((f"the password {value[:40]}: give it as pass:…" for value in wrong), None)


def _zstd(parsed: ParsedArguments, place: Place) -> str | None:
    """Return a file beside which zstd would write, or which it would remove."""
    reads = parsed.has("-c", "--stdout", "-t", "--test", "-l", "--list", "-o") and not parsed.has("--rm")
    return None if reads else _written_outside(ParsedArguments(operands=parsed.operands), 0, place, every=True)


def _jq(parsed: ParsedArguments, place: Place) -> str | None:
    """Return a program of jq that loads files: only at its beginning can it name any."""
    for text in parsed.operands:
        program = text.lstrip()
        unclear = program.startswith("#") and re.search(r"\b(import|include|module)\b", program)
        if unclear or re.match(r"(import|include|module)\b", program):
            return f"{text[:80]}, which loads files"
    return None


_DESCRIBES: Final = re.compile(
    r"\.(?:tables|schema|indexes|indices|databases|dump|fullschema|stats|show|dbinfo|help|version|lint fkey-indexes)"
    r"(?: +[\w%]+)*|\.(?:mode|headers?|timer|width|nullvalue|bail|echo|changes|eqp)(?: +[\w-]+)+"
)
_SQLITE_REACHES: Final = re.compile(
    r"^\s*\.|\b(load_extension|readfile|writefile|edit|fsdir|lsdir|fts3_tokenizer|zipfile|sqlar_\w+)\s*\("
    r"|\battach\b|\bvacuum\b.*\binto\b|\bfsdir\b|\bcreate\s+virtual\b",
    re.IGNORECASE | re.DOTALL,
)


def _sqlite(parsed: ParsedArguments, place: Place) -> str | None:
    """Return what sqlite3 must not get: commands that reach files, and a database outside that it could change."""
    for text in (*parsed.operands, *(value for _, value in parsed.options)):
        if _SQLITE_REACHES.search(text) and not _DESCRIBES.fullmatch(text.strip()):
            return f"{text[:80]}, {_REACHES}"
    for name in parsed.operands[:1]:
        path = unquote(re.sub(r"[?#].*", "", name[5:])) if name.lower().startswith("file:") else name
        path = re.sub(r"^//(?:localhost)?(?=/)", "", path)
        if name != ":memory:" and not parsed.has("-readonly", "--readonly") and place.outside(path):
            return f"{name[:80]}, which lies outside of the workspace, unless with -readonly"
    return None


_REACHES: Final = "which reaches files or programs"
_WRITES_IT: Final = "a second file, which it writes to"
RULES: Final[Mapping[str, Rule]] = {
    "tar": _tar,
    "date": _date,
    "ssh": ssh_programs.ssh,
    **dict.fromkeys(("scp", "sftp"), ssh_programs.scp),
    "rsync": changed_files.local_target,
    **dict.fromkeys(("zstd", "unzstd", "zstdmt", "pzstd"), _zstd),
    "psql": _psql,
    "curl": curl_addresses.check,
    "uniq": _at_most(1, _WRITES_IT),
    "xxd": _at_most(1, _WRITES_IT),
    "hostname": _at_most(0, "which would set the host's name"),
    "split": lambda parsed, place: _written_outside(parsed, 1, place),
    "zip": lambda parsed, place: _written_outside(parsed, 0, place),
    "unzip": _unzip,
    "man": lambda parsed, place: next(
        (
            f"{page}: give the name of a page, not a file, which may take in others"
            for page in parsed.operands
            if "/" in page
        ),
        None,
    ),
    "rpm": lambda parsed, place: None if parsed.has(*_RPM_ASKS) else "anything but a question (-q, -V or -K)",
    "tee": lambda parsed, place: next(
        (f"{o}, outside of the workspace" for o in parsed.operands if place.outside(o)), None
    ),
    "less": _without(r"^\+", "which is a command of less"),
    "more": _without(r"^\+", "which is a command of more"),
    **dict.fromkeys(
        ("strings", "nm", "objdump", "readelf", "size", "addr2line", "c++filt"),
        _without(r"^@", "which names a file with options"),
    ),
    "jq": _jq,
    "sqlite3": _sqlite,
    "openssl": _openssl,
    "cpio": lambda parsed, place: _written_outside(parsed, 0, place) if parsed.has("-p", "--pass-through") else None,
    "wget": lambda parsed, place: curl_addresses.names_of_addresses(parsed.operands, place),
    "mysql": _without(
        r"\\[!.TPeRdGu]|(^|;)\s*(system|source|tee|pager|edit|nopager|prompt|delimiter)\b|\binto\s+(outfile|dumpfile)\b"
        r"|\bload_file\s*\(|\bload\s+(data|xml)\b",
        _REACHES,
    ),
}


CHECKS: Final[Mapping[str, Callable[[Arguments, Place], str | None]]] = {
    **dict.fromkeys(("sed", "gsed"), sed_script.check),
    **dict.fromkeys(("awk", "gawk", "mawk", "nawk", "original-awk"), awk_program.check),
    "ps": lambda arguments, place: ps(arguments),
    "git": lambda arguments, place: git_options.check(arguments),
    "ip": lambda arguments, place: subcommands.ip(arguments),
    "bsdtar": lambda arguments, place: "anything: use tar",
    "lftp": lambda arguments, place: "anything: it runs programs. Use curl",
    "socat": lambda arguments, place: "anything: its addresses run programs and open files. Use nc or curl",
    **changed_files.CHECKS,
    "objcopy": lambda arguments, place: "anything: it is not known here which of its words are files",
    "ar": compilers.ar,
    "cpp": compilers.preprocessor,
    "ld": compilers.ld,
    "as": compilers.assembler,
    "ssh-keygen": ssh_programs.keygen,
    "ssh-add": ssh_programs.add,
    "ssh-keyscan": ssh_programs.keyscan,
    "hg": lambda arguments, place: subcommands.hg(arguments, place),
    **{name: each.check for name, each in subcommands.PROGRAMS.items()},
    **{name: each.check for name, each in output_options.PROGRAMS.items()},
    **administration.CHECKS,
    "flock": partial(launchers.own_file, "flock"),
    "script": partial(launchers.own_file, "script"),
}


# They write into the folder that they run in. On another host that is a home, with `.ssh` and `.profile` in it.
_WRITE_WHERE_THEY_RUN: Final = frozenset({"cpio", "csplit", "rsync", "scp", "sftp", "unzip", "wget"})


def hazard(program: str, arguments: Arguments, place: Place | None = None) -> str | None:
    """Return, in a few words, why `program` must not run with these arguments; None if it may."""
    place = place or Place()
    if place.elsewhere and program in _WRITE_WHERE_THEY_RUN:
        return f"{program} is not run on another host: it writes into the folder that it runs in"
    check = CHECKS.get(program) or (compilers.check if compilers.NAME.fullmatch(program) else None)
    if check:
        danger = check(arguments, place)
        return f"{program} is not run with {danger}" if danger else None
    if program not in TABLE:
        return None
    parsed = TABLE[program].read(_dashed(program, arguments), place)
    rule = RULES.get(program)
    danger = parsed.refused or (rule(parsed, place) if rule else None)
    return f"{program} is not run with {danger}" if danger else None


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
