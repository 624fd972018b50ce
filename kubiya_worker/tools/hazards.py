"""This module lists what harmless programs can do besides their purpose: run programs, write files, show secrets.

A list of allowed commands is worth nothing if `find -exec`, `sort --compress-program` or `tar --to-command` lead out of
it. `hazard` names the dangerous part of one program's arguments, or returns None. The table is a list of refusals, not
a proof: programs with their own language (awk, sed) may only use harmless parts of it (`languages`); interpreters are
not in it, since allowing `python3` allows everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kubiya_worker.tools import allowed_options, languages

Arguments = Sequence[str]


@dataclass(frozen=True)
class Options:
    """Refused options of a program that reads them as getopt does.

    `short` are refused letters, also inside a cluster (-ro); `valued` are letters whose value ends the cluster. `long`
    are refused long options, also abbreviated (--comp) and with a value; `words` are refused whole, wherever they are.
    """

    why: str
    short: str = ""
    valued: str = ""
    long: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()  # long options that are the beginning of a refused one

    def find(self, arguments: Arguments) -> str | None:
        """Return the first argument that is refused, or None."""
        only_operands = False
        for argument in arguments:
            name = argument.split("=", 1)[0]
            if name in self.words:
                return name
            if only_operands or not argument.startswith("-") or argument == "-":
                continue
            if argument == "--":
                only_operands = True
            elif argument.startswith("--"):
                if name not in self.harmless and any(long.startswith(name) for long in self.long):
                    return name
            elif any(long == name for long in self.long):
                return name  # programs that take long options with one dash
            else:
                for letter in argument[1:]:
                    if letter in self.short:
                        return f"-{letter}"
                    if letter in self.valued:
                        break
        return None


_RUNS: Final = "runs other programs"
_WRITES: Final = "writes files"

OPTIONS: Final[Mapping[str, tuple[Options, ...]]] = {
    "find": (
        Options(_RUNS, words=("-exec", "-execdir", "-ok", "-okdir")),
        Options("deletes files", words=("-delete",)),
        Options(_WRITES, words=("-fprint", "-fprint0", "-fprintf", "-fls")),
        Options("reads names from a file", words=("-files0-from",)),
    ),
    "fd": (Options(_RUNS, short="xX", valued="deEtSjc", long=("--exec", "--exec-batch")),),
    "sort": (
        Options(_RUNS, long=("--compress-program",)),
        Options(_WRITES, short="oT", valued="kStT", long=("--output", "--temporary-directory")),
    ),
    "tree": (Options(_WRITES, short="oR", valued="LPIHT", long=("--output",)),),
    "file": (Options(_WRITES, short="C", valued="mfFPe", long=("--compile",)),),
    "date": (Options("sets the clock", short="s", valued="dfrI", long=("--set",)),),
    "hostname": (Options("sets the host's name", short="Fb", long=("--file", "--boot")),),
    "dmesg": (
        Options(
            "changes the kernel's log", short="cCDEn", valued="fls", long=("--clear", "--read-clear", "--console-off")
        ),
    ),
    "journalctl": (
        Options(
            "changes the journal",
            long=("--vacuum-size", "--vacuum-time", "--vacuum-files", "--rotate", "--flush", "--sync", "--setup-keys"),
            harmless=("--s",),
        ),
    ),
    "ss": (Options("closes connections", short="K", valued="fAFD", long=("--kill",)), Options(_WRITES, short="D")),
    "ip": (Options("reads commands from a file", long=("-batch", "--batch", "-b")), Options(_RUNS, words=("exec",))),
    "rg": (Options(_RUNS, long=("--pre", "--hostname-bin"), harmless=("--pretty",)),),
    "ag": (Options(_RUNS, long=("--pager",)),),
    "split": (Options(_RUNS, long=("--filter",)),),
    "cpio": (Options(_RUNS, long=("--rsh-command", "--to-command")),),
    "zip": (
        Options(_RUNS, words=("-TT", "--unzip-command"), short="T", valued="bnti", long=("--unzip-command", "--test")),
    ),
    "rsync": (
        Options(
            _RUNS, short="eM", valued="BTf", long=("--rsh", "--rsync-path", "--remote-option", "--daemon", "--config")
        ),
    ),
    "hg": (Options(_RUNS, long=("--config", "--config-file", "--debugger")),),
    "scp": (Options(_RUNS, short="oFSDJ", valued="ciPlX"),),
    "sftp": (Options(_RUNS, short="oFSDb", valued="BciJlPRsX"),),
    "curl": (
        Options("reads options from a file", short="K", valued="dHXbuAeFmxrwyYzPQtUCE", long=("--config",)),
        Options(
            _WRITES,
            short="oOJDc",
            valued="dHXbuAeFmxrwyYzPQtUCEK",
            long=(
                "--output",
                "--output-dir",
                "--remote-name",
                "--remote-name-all",
                "--remote-header-name",
                "--dump-header",
                "--cookie-jar",
                "--trace",
                "--trace-ascii",
                "--stderr",
                "--etag-save",
                "--hsts",
                "--alt-svc",
                "--libcurl",
            ),
        ),
    ),
    "wget": (Options(_RUNS, short="e", valued="oaitTwQPUO", long=("--execute", "--use-askpass", "--config")),),
    "tcpdump": (
        Options(_RUNS, short="z", valued="BcCEFGijmMrsTVwWyZ"),
        Options(_WRITES, short="w", valued="BcCEFGijmMrsTVWyzZ"),
    ),
    "nmap": (
        Options(_RUNS, long=("--script", "--interactive", "--datadir")),
        Options(_WRITES, words=("-oN", "-oX", "-oS", "-oG", "-oA")),
    ),
    "man": (Options(_RUNS, short="PH", valued="CLmMsSeRrpEI", long=("--pager", "--html")),),
    "less": (Options(_RUNS, short="oOk", long=("--log-file", "--LOG-FILE", "--lesskey-file", "--lesskey-src")),),
    "openssl": (Options("loads code", words=("-engine", "-provider", "-provider-path")),),
    "sqlite3": (Options(_RUNS, words=("-cmd", "-init", "--cmd", "--init")),),
    "psql": (Options(_RUNS, short="fovL", valued="cdFhpPRTU", long=("--file", "--output", "--variable", "--set")),),
    "mysql": (Options(_RUNS, long=("--pager", "--tee", "--plugin-dir", "--init-command", "--defaults-file")),),
    "systemctl": (Options("reaches other hosts", short="HM", valued="tpno", long=("--host", "--machine")),),
    "xxd": (Options(_WRITES, short="r", valued="cglos"),),
}


def _uniq(arguments: Arguments) -> str | None:
    operands = [argument for argument in arguments if not argument.startswith("-") and not argument.startswith("+")]
    takes_value = sum(argument in ("-f", "-s", "-w") for argument in arguments)
    return "a second file, which uniq writes to" if len(operands) - takes_value > 1 else None


_PS_FORMATS: Final = frozenset({"-o", "-O", "--format", "o", "O"})
_PS_VALUES: Final = frozenset({"-p", "-u", "-U", "-g", "-G", "-C", "-t", "-s", "-q", "-k", "-N"})
_PS_LONG_VALUES: Final = frozenset({"--sort", "--pid", "--ppid", "--user", "--quick-pid", "--cols", "--group", "--tty"})


def _ps(arguments: Arguments) -> str | None:
    """Refuse `ps e` (a letter without a dash) and macOS' `ps -E`, which show environments; `ps -e` shows all
    processes.
    """
    value = ""  # the option that this argument belongs to
    for argument in arguments:
        if value or argument.startswith("--"):
            is_format = value in _PS_FORMATS or argument.startswith("--fo")
            if is_format and "env" in argument.lower():
                return f"{argument} (environments of processes)"
            value = "" if value or argument not in {*_PS_FORMATS, *_PS_LONG_VALUES} else argument
            continue
        if argument in _PS_FORMATS or argument in _PS_VALUES:
            value = argument
            continue
        dashed = argument.startswith("-")
        letters = argument.split("o")[0]
        if dashed and "e" in letters and ("x" in letters or "au" in letters):
            return f"{argument} (read as `aux e` by some)"
        for index, letter in enumerate(argument):
            if letter == "E" or (letter == "e" and not dashed):
                return f"{argument} (environments of processes)"
            if letter in "oO" and "env" in argument.lower():
                return f"{argument} (environments of processes)"
            if letter in ("oOpuUgGqtkCs" if dashed else "oOpUqtkC"):
                value = letter if index == len(argument) - 1 else ""
                break
    return None


_GIT_COMMANDS: Final = (
    " add am annotate apply archive blame branch cat-file check-ignore checkout cherry cherry-pick clean clone commit "
    "count-objects describe diff diff-tree fetch for-each-ref format-patch fsck gc grep init log ls-files ls-remote "
    "ls-tree merge merge-base mv name-rev pull push range-diff rebase reflog remote reset restore rev-list rev-parse "
    "revert rm shortlog show show-ref stash status switch symbolic-ref tag version whatchanged worktree "
)
_GIT_LONG: Final = Options(
    _RUNS,
    long=(
        *("--upload-pack", "--receive-pack", "--ext-diff", "--open-files-in-pager", "--exec", "--template"),
        *("--config", "--interactive", "--edit-todo", "--output", "--output-directory", "--textconv", "--remote"),
    ),
    harmless=("--text", "--in"),
)
_GIT_SHORT: Final = {"clone": "uc", "rebase": "xi", "grep": "O", "archive": "o", "format-patch": "o", "add": "ie"}


def _git(arguments: Arguments) -> str | None:
    """Allow only plain options before the command, and only git's own commands, as an alias can run anything."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        option = arguments[index]
        if option == "-C":
            index += 1
        elif option not in ("--no-pager", "-P", "--no-optional-locks", "--literal-pathspecs", "--version", "--bare"):
            return f"the option {option} before its command"
        index += 1
    if index >= len(arguments):
        return None
    command, rest = arguments[index], arguments[index + 1 :]
    if command == "config":
        reading = ("--get", "--get-all", "--get-regexp", "--list", "-l", "get", "list")
        return None if rest and any(option in rest[:2] for option in reading) else "config, unless it only reads"
    if f" {command} " not in _GIT_COMMANDS:
        return f"the command {command}"
    found = _GIT_LONG.find(rest) or Options(_RUNS, short=_GIT_SHORT.get(command, "")).find(rest)
    if found:
        return f"{command} {found}"
    return next((f"the address {argument}" for argument in rest if re.match(r"[a-z0-9+.-]+::", argument)), None)


def _starts(*prefixes: str) -> Callable[[Arguments], str | None]:
    def check(arguments: Arguments) -> str | None:
        return next((argument for argument in arguments if argument.lstrip().startswith(prefixes)), None)

    return check


def _holds(pattern: str) -> Callable[[Arguments], str | None]:
    compiled = re.compile(pattern, re.IGNORECASE)

    def check(arguments: Arguments) -> str | None:
        return next((argument for argument in arguments if compiled.search(argument)), None)

    return check


def _first(*checks: Callable[[Arguments], str | None]) -> Callable[[Arguments], str | None]:
    """Return a check that returns the first finding of `checks`."""

    def check(arguments: Arguments) -> str | None:
        return next((found for each in checks if (found := each(arguments))), None)

    return check


CHECKS: Final[Mapping[str, Callable[[Arguments], str | None]]] = {
    "uniq": _uniq,
    "ps": _ps,
    "sed": languages.sed,
    "gsed": languages.sed,
    "awk": languages.awk,
    "gawk": languages.awk,
    "mawk": languages.awk,
    "nawk": languages.awk,
    "less": _starts("+"),
    "more": _starts("+"),
    "vi": _starts("+", "-c"),
    "sqlite3": _holds(r"^\s*\.|\b(load_extension|readfile|writefile|edit)\s*\("),
    "psql": _holds(r"\\!|\\[go]x?\b|\bprogram\b|pg_read|lo_import|lo_export"),
    "mysql": _holds(r"\\!|^\s*system\b|\binto\s+(outfile|dumpfile)\b|\bload_file\s*\("),
    "git": _git,
    "tar": _first(_holds(r"^(--file=|-[A-Za-z]*f)?[A-Za-z0-9_.@-]+:"), allowed_options.tar),
    "bsdtar": lambda arguments: "anything: use tar",
    "ssh": allowed_options.ssh,
    "curl": allowed_options.curl,
}


def hazard(program: str, arguments: Arguments) -> str | None:
    """Return, in a few words, why `program` must not run with these arguments; None if it may."""
    for options in OPTIONS.get(program, ()):
        found = options.find(arguments)
        if found is not None:
            return f"{found} of {program} {options.why}"
    check = CHECKS.get(program)
    found = check(arguments) if check else None
    return f"{program} is not run with {found}" if found else None
