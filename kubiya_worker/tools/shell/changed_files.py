"""This module finds the files that a program changes because an argument names them, and refuses those outside.

One rule for all of them: what an argument names for writing, moving or removing lies in the workspace, the skill's
working folder, or one of its `write_paths`. Files that are only read may lie anywhere (`private_files` has the
exceptions). Each program has its options listed, since only then is it known which word is a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubiya_worker.tools.shell.options import NO_FILE, Arguments, Options, ParsedArguments, Place


@dataclass(frozen=True)
class ChangedFiles:
    """The options of a program and which of its operands it changes: all of them, or with `last` the last one.

    The values of `Options.writes` are judged as well. With one of `into` the last operand is no target; with one of
    `every` all operands are changed, also where `last` says otherwise; with one of `reads` none is.
    """

    options: Options
    last: bool = False
    links: bool = False  # it changes a link itself, not what that leads to
    into: tuple[str, ...] = ()
    every: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    always_reads: bool = False
    responses: bool = False  # it reads further arguments from `@file`

    def check(self, arguments: Arguments, place: Place) -> str | None:
        """Return what the program must not get; None when there is nothing."""
        if self.responses and (file := next((word for word in arguments if word.startswith("@")), "")):
            return f"{file[:80]}, which is a file with further arguments"
        parsed = self.options.read(arguments, place)
        changed = self.changed(parsed)
        if (
            self.links and changed == parsed.operands and self.options.writes
        ):  # a link at the end is a folder to go into
            return parsed.refused or _outside(changed[:-1], place, links=True) or _outside(changed[-1:], place)
        return parsed.refused or _outside(changed, place, links=self.links)

    def changed(self, parsed: ParsedArguments) -> tuple[str, ...]:
        """Return the operands that are changed."""
        if self.always_reads or (parsed.has(*self.reads) and not parsed.has(*self.every)):
            return ()
        if not self.last or parsed.has(*self.every):
            return parsed.operands
        if parsed.has(*self.into):
            return _below(parsed.operands, parsed.values(*self.into))
        if len(parsed.operands) < 2:
            return ()
        return (parsed.operands[-1], *_below(parsed.operands[:-1], parsed.operands[-1:]))


def _below(sources: Iterable[str], folders: Iterable[str]) -> tuple[str, ...]:
    """Return where files get to in a folder: a link of that name there would lead elsewhere."""
    names = [source.rstrip("/").rsplit("/", 1)[-1] for source in sources]
    into = [folder for folder in folders if folder not in NO_FILE]
    return tuple(f"{folder}/{name}" for folder in into for name in names if name not in ("", ".", ".."))


def _outside(names: Iterable[str], place: Place, *, links: bool = False) -> str | None:
    outside = next((name for name in names if place.outside(name, links=links)), None)
    return None if outside is None else f"{outside[:80]}, which it would change outside of the workspace"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as refused:
            return list(refused)
    except OSError:
        return []  # what this user may not read, the program may not read either


def link_below(folder: str, place: Place) -> str | None:
    """Return a link to a folder outside, below the folder that an archive is unpacked in: names in it would get there.

    Programs that unpack follow a link that was there before, as one that came with a clone.
    """
    pending, seen = [Path(os.path.realpath(place.cwd / folder))], 0
    while pending:
        entries = _entries(pending.pop())
        seen += len(entries)
        if seen > _MOST_ENTRIES:
            return f"{folder}, which has more than {_MOST_ENTRIES} files: links among them are not looked for"
        for entry in entries:
            if entry.is_symlink():
                if Path(entry.path).is_dir() and place.outside(entry.path):
                    return f"{entry.path[-80:]}, a link by which it would write outside of the workspace"
            elif entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
    return None


def copy(arguments: Arguments, place: Place) -> str | None:
    """Return what cp must not get. Below a folder that it copies into another, it writes through links there."""
    if refused := PROGRAMS["cp"].check(arguments, place):
        return refused
    parsed = PROGRAMS["cp"].options.read(arguments, place)
    recursive = parsed.has("-r", "-R", "-a", "--recursive", "--archive")
    sources, targets = parsed.operands[:-1], parsed.operands[-1:]
    if parsed.has(*_INTO):
        sources, targets = parsed.operands, tuple(parsed.values(*_INTO))
    pending = [
        (Path(place.cwd, source), Path(place.cwd, target, name))
        for source in (sources if recursive and not place.elsewhere else ())
        for target in targets
        for name in ("", Path(source).name)
    ]
    while pending:  # only folders that are in both
        source_folder, target_folder = pending.pop()
        if not (source_folder.is_dir() and target_folder.is_dir()):
            continue
        for entry in _entries(source_folder):
            copied = target_folder / entry.name
            if copied.is_symlink() and place.outside(str(copied)):
                return f"{copied}, a link by which it would write outside of the workspace"
            if entry.is_dir(follow_symlinks=False):
                pending.append((source_folder / entry.name, copied))
    return None


_MOST_ENTRIES: Final = 200_000  # looked at for links, in one call
_TARGET: Final = "-t --target-directory"
_INTO: Final = ("-t", "--target-directory")
_OWNERS: Final = Options(
    plain="cfvhRP",
    long="changes silent quiet verbose dereference no-dereference recursive preserve-root from= reference= version "
    "help",
)
_GZIP: Final = Options(
    plain="acdfhklLnNqrtvV123456789",
    long="ascii stdout to-stdout decompress uncompress force keep list no-name name quiet recursive test verbose fast "
    "best rsyncable synchronous license version help",
)
_BZIP2: Final = Options(
    plain="cdfhkLqstvVz123456789",
    long="stdout decompress compress force keep test quiet verbose small fast best license version help",
)
_XZ: Final = Options(
    plain="zdtlkfcqQvhHV0123456789e",
    valued="TFCM",
    long="compress decompress uncompress test list keep force stdout to-stdout single-stream no-sparse format= check= "
    "ignore-check extreme fast best threads= block-size= memlimit= memory= memlimit-compress= memlimit-decompress= "
    "no-adjust quiet verbose no-warn robot info-memory long-help files files0 lzma1 lzma2 x86 arm arm64 delta version "
    "help",
)
_READING: Final = ("-c", "-t", "-l", "--stdout", "--to-stdout", "--test", "--list", "-V", "--version", "-h", "--help")
PROGRAMS: Final[Mapping[str, ChangedFiles]] = {
    "cp": ChangedFiles(
        Options(
            plain="abdfHiLlnPpRrsTuvxZ",
            valued="t",
            long="archive attributes-only backup copy-contents debug force interactive link dereference no-clobber "
            "no-dereference preserve no-preserve= parents recursive reflink remove-destination sparse= "
            "strip-trailing-slashes symbolic-link target-directory= no-target-directory update verbose "
            "one-file-system version help",
            writes=_TARGET,
        ),
        last=True,
        into=_INTO,
        every=("-l", "--link"),  # a second name of a file outside would be written through
    ),
    "mv": ChangedFiles(
        Options(
            plain="bfinTuvZ",
            valued="t",
            long="backup debug exchange force interactive no-clobber no-copy strip-trailing-slashes target-directory= "
            "no-target-directory update verbose version help",
            writes=_TARGET,
        ),
        links=True,
    ),
    "install": ChangedFiles(
        Options(
            plain="bcCDdpsTvZ",
            valued="gmot",
            long="backup compare directory group= mode= owner= preserve-timestamps strip target-directory= "
            "no-target-directory verbose version help",
            writes=_TARGET,
        ),
        last=True,
        into=_INTO,
        every=("-d", "--directory"),
    ),
    "touch": ChangedFiles(
        Options(plain="acfhm", valued="drt", long="no-create date= no-dereference reference= time= version help")
    ),
    "mkdir": ChangedFiles(Options(plain="pvZ", valued="m", long="parents verbose mode= version help")),
    "rmdir": ChangedFiles(
        Options(plain="pv", long="parents verbose ignore-fail-on-non-empty version help"), links=True
    ),
    "rm": ChangedFiles(
        Options(
            plain="dfiIrRv",
            long="force interactive one-file-system preserve-root recursive dir verbose version help",
        ),
        links=True,
    ),
    "unlink": ChangedFiles(Options(long="version help"), links=True),
    "link": ChangedFiles(Options(long="version help")),
    "mkfifo": ChangedFiles(Options(plain="Z", valued="m", long="mode= version help")),
    "mknod": ChangedFiles(Options(plain="Z", valued="m", long="mode= version help")),
    "truncate": ChangedFiles(
        Options(plain="co", valued="sr", long="no-create io-blocks reference= size= version help"),
    ),
    "chmod": ChangedFiles(
        Options(
            plain="cfvRPrwxXstugoa,=+",  # a mode may begin with a dash: `chmod -w a.txt`
            long="changes silent quiet verbose recursive preserve-root dereference no-dereference reference= version "
            "help",
        )
    ),
    "chown": ChangedFiles(_OWNERS),
    "chgrp": ChangedFiles(_OWNERS),
    "shred": ChangedFiles(
        Options(plain="fuvxz", valued="ns", long="force iterations= size= remove exact verbose zero version help")
    ),
    "fallocate": ChangedFiles(
        Options(plain="cdinxzv", valued="lo", long="length= offset= keep-size dig-holes punch-hole zero-range verbose")
    ),
    "sponge": ChangedFiles(Options(plain="a")),
    **dict.fromkeys(
        ("dos2unix", "unix2dos"),
        ChangedFiles(
            Options(plain="bfikLlmnoqsSuv", long="backup force keepdate newfile oldfile quiet verbose version help")
        ),
    ),
    **dict.fromkeys(("gzip", "gunzip", "pigz", "unpigz"), ChangedFiles(_GZIP, reads=_READING)),
    "zcat": ChangedFiles(_GZIP, always_reads=True),
    **dict.fromkeys(("bzip2", "bunzip2", "pbzip2"), ChangedFiles(_BZIP2, reads=_READING)),
    "bzcat": ChangedFiles(_BZIP2, always_reads=True),
    **dict.fromkeys(("xz", "unxz", "lzma", "unlzma"), ChangedFiles(_XZ, every=("--files", "--files0"), reads=_READING)),
    **dict.fromkeys(("xzcat", "lzcat"), ChangedFiles(_XZ, always_reads=True)),
    "sdiff": ChangedFiles(
        Options(
            plain="iEbWBalstdHv",
            valued="wIo",
            long="ignore-case ignore-tab-expansion ignore-trailing-space ignore-space-change ignore-all-space "
            "ignore-blank-lines text width= left-column suppress-common-lines expand-tabs tabsize= minimal "
            "speed-large-files strip-trailing-cr ignore-matching-lines= output= version help",
            writes="-o --output",
        ),
        always_reads=True,
    ),
    "strip": ChangedFiles(
        Options(
            plain="sgSdxXwvpD",
            valued="oKN",
            long="strip-all strip-debug strip-unneeded preserve-dates keep-symbol= strip-symbol= only-keep-debug "
            "verbose version help",
            writes="-o",
        ),
        reads=("-o",),
        responses=True,
    ),
    "ranlib": ChangedFiles(Options(plain="DUtvV", long="version help"), responses=True),
}


def links(arguments: Arguments, place: Place) -> str | None:
    """Return what ln must not get. A hard link is a second name of a file, so that file must lie inside too."""
    parsed = _LN.read(arguments, place)
    if parsed.refused:
        return parsed.refused
    if not parsed.has("-s", "--symbolic"):
        return _outside(parsed.operands, place)
    return _outside(ChangedFiles(_LN, last=True, into=_INTO).changed(parsed), place, links=True)


_LN: Final = Options(
    plain="bdFfiLnPrsTv",
    valued="t",
    long="backup directory force interactive logical no-dereference physical relative symbolic target-directory= "
    "no-target-directory verbose version help",
    writes=_TARGET,
)
_DD_WORD: Final = re.compile(r"(?:if|of|bs|ibs|obs|cbs|count|skip|seek|iseek|oseek|conv|status|iflag|oflag)=")


def dd(arguments: Arguments, place: Place) -> str | None:
    """Return what dd must not get."""
    for word in arguments:
        if word not in ("--help", "--version") and not _DD_WORD.match(word):
            return f"the word {word[:80]}"
    return _outside((word.removeprefix("of=") for word in arguments if word.startswith("of=")), place)


_PATCH: Final = Options(
    plain="bcEflnNRstTuvZ",
    valued="pFidor",
    long="strip= input= directory= output= reject-file= reject-format= dry-run forward reverse force batch fuzz= "
    "unified context normal backup silent quiet verbose remove-empty-files ignore-whitespace binary "
    "no-backup-if-mismatch backup-if-mismatch posix merge version help",
    writes="-d -o -r --directory --output --reject-file",
)


def patch(arguments: Arguments, place: Place) -> str | None:
    """Return what patch must not get: ed scripts, version control, and files outside. It refuses such names itself."""
    parsed = _PATCH.read(arguments, place)
    return parsed.refused or _outside(parsed.operands[:1], place)


_MKTEMP: Final = Options(
    plain="dqtu",
    valued="p",
    long="directory dry-run quiet suffix= tmpdir version help",
    writes="-p --tmpdir",
)


def mktemp(arguments: Arguments, place: Place) -> str | None:
    """Return what mktemp must not get."""
    parsed = _MKTEMP.read(arguments, place)
    if parsed.refused:
        return parsed.refused
    suffix = next((value for value in parsed.values("--suffix") if "/" in value), "")
    return f"the suffix {suffix}" if suffix else _outside(parsed.operands, place)


_SEVEN_SWITCH: Final = re.compile(
    r"-(?:y|bd|bb[0-3]?|bs[oep][0-2]|bt|m[a-z]+[0-9]*(?:=[\w.:]*)?|p.*|t[\w.:]+|r[-0]?|[ix]r?[-0]?[!@].*|so|si.*"
    r"|ao[asut]|slt|ssc-?|v\d+[bkmg]|scs[\w-]+|sccUTF-8|sns-?|snl-?|snh-?|o.*|-)",
    re.DOTALL,
)


def seven_zip(arguments: Arguments, place: Place) -> str | None:
    """Return what 7z must not get. Names out of a list (`@file`) are judged by `private_files`."""
    wrong = next((a for a in arguments if a.startswith("-") and not _SEVEN_SWITCH.fullmatch(a)), "")
    if wrong:
        return f"the switch {wrong[:80]}"
    operands = [argument for argument in arguments if not argument.startswith("-")]
    if not operands:
        return None
    command, archive = operands[0], operands[1:2]
    if command not in ("a", "b", "d", "e", "h", "i", "l", "rn", "t", "u", "x"):
        return f"the command {command}"
    into = [argument[2:] for argument in arguments if argument.startswith("-o")]
    changed = archive if command in ("a", "d", "rn", "u") else into if command in ("e", "x") else []
    if place.elsewhere and command in ("e", "x"):
        return f"{command} on another host, where it writes into the folder that it runs in"
    unpacked = next(filter(None, (link_below(folder, place) for folder in into or ["."])), None)
    return _outside(changed, place) or (unpacked if command in ("e", "x") else None)


def local_target(parsed: ParsedArguments, place: Place) -> str | None:
    """Return the target of a copy (rsync, scp, sftp) that lies outside; one with a host before it lies elsewhere.

    A name that begins with a dash would be an option of the ssh client that they start.
    """
    dashed = next((operand for operand in parsed.operands if operand.startswith("-")), "")
    if dashed:
        return f"the name {dashed[:80]}"
    *sources, target = parsed.operands or [""]
    if not sources or ":" in target.split("/")[0] or target.startswith(("rsync:", "scp:", "sftp:")):
        return None
    return _outside((target, *_below((source.rpartition(":")[2] for source in sources), (target,))), place)


CHECKS: Final = {
    **{name: changes.check for name, changes in PROGRAMS.items()},
    "cp": copy,
    "ln": links,
    "dd": dd,
    "patch": patch,
    "mktemp": mktemp,
    **dict.fromkeys(("7z", "7za", "7zr", "7zz", "p7zip"), seven_zip),
}
