"""This module decides which programs a shell skill may run, by its configuration and the file that would really run.

A name means the program that the trusted search path has under it. A path counts if it leads into a folder of that
path, so neither `./ls` nor `/tmp/ls` passes for `ls`. A program that starts another (env, timeout, xargs) passes if the
other program does too.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kubiya_worker.tools.shell import git_rules, launchers, private_files
from kubiya_worker.tools.shell.command_line import CommandRefused
from kubiya_worker.tools.shell.hazards import hazard
from kubiya_worker.tools.shell.options import Place

# Multi-call binaries: one file that is many programs, so its own name does not say what it does.
_MULTICALL: Final = frozenset({"busybox", "toybox", "coreutils", "uutils"})

_MULTICALL_QUESTIONS: Final = frozenset({"--help", "--list", "--list-full", "--version"})
# Commands of such a file (`busybox ls`) that need not be listed by name; no shell, editor or server is among them.
_PLAIN_APPLETS: Final = frozenset(
    (  # noqa: SIM905
        "ls echo printf pwd df du ps free uptime date id whoami uname hostname stat readlink realpath basename dirname "
        "test expr seq sleep which true false find tar cp mv rm mkdir rmdir touch ln chmod chown chgrp dd mktemp "
        "truncate tee env nice nohup timeout time setsid wget unzip split ip dmesg nslookup netstat pidof pgrep arch "
        "nproc tty who groups cal factor usleep"
    ).split()
)

ANY: Final = "*"  # in a list of allowed programs: every program
# Programs that treat their input as data, whatever it holds.
PLAIN_READERS: Final = frozenset(
    (  # noqa: SIM905
        "cat head tail grep egrep fgrep zgrep rg wc sort uniq cut tr awk gawk mawk nawk sed gsed jq nl tac rev "
        "column paste fold fmt expand unexpand comm join diff cmp od xxd hexdump base64 base32 md5sum sha1sum "
        "sha256sum sha512sum b2sum cksum gzip gunzip zcat bzip2 bunzip2 bzcat xz unxz xzcat zstd unzstd zstdcat "
        "shuf strings iconv numfmt tsort ts tee"
    ).split()
)

# These can run anything in ways that are hard to follow: with a blocked list, "*" does not allow them.
_INTERPRETERS: Final = re.compile(
    r"(ba|da|z|k|c|tc|fi|a)?sh|r?bash|python[\d.]*|perl[\d.]*|ruby[\d.]*|node|nodejs|deno|bun|php[\d.]*|lua[\d.]*|tclsh.*"
    r"|expect|busybox|toybox|coreutils|su|runuser|chroot|unshare|nsenter|setpriv|systemd-run|start-stop-daemon|flock|watch"
    r"|script|strace|ltrace|gdb|parallel|at|batch|crontab|screen|tmux|vim?|vim\..*|nano|emacs.*|ed|make|nvim|r?view|rvim|ex"
    r"|gnuplot|logrotate|run-parts|java|jshell|julia|Rscript|R|octave|pwsh|npm|npx|pnpm|yarn|uvx?|pipx?|pip3|go|cargo"
    r"|terraform|tofu|ansible(-.*)?|ld(-linux.*)?\.so.*"
)


@dataclass(frozen=True)
class AllowedPrograms:
    """The programs that may run.

    `allowed` and `blocked` are names or absolute paths; "*" allows all but the blocked.
    """

    allowed: frozenset[str]
    blocked: frozenset[str] = frozenset()
    search_path: tuple[str, ...] = ()
    private: tuple[Path, ...] = field(default=())  # folders and files of the worker itself, which no argument may name
    roots: tuple[Path, ...] = ()  # folders that git may work in, besides the one that it is started in
    writable: tuple[Path, ...] = ()  # further ones that an argument may name for writing
    elsewhere: bool = False  # the programs run on another host, whose files cannot be looked at here

    def check(self, argv: Sequence[str], cwd: Path, depth: int = 0, *, bare: bool = False) -> str:
        """Return the path of the program that may run as `argv` in `cwd`; raise CommandRefused with the reason.

        `bare` says that another program takes variables away that this tool sets for its protection.
        """
        path = self._named(argv[0]) if self.elsewhere else self._resolve(argv[0], cwd)
        names = (path.name,) if self.elsewhere else _names(path)
        for name in (*names, str(path)):
            if name in self.blocked:
                raise CommandRefused(f"The command {name} is blocked by the configuration of this tool")
        listed = bool(self.allowed & ({argv[0]} if self.elsewhere else {names[0], str(path)}))
        if not listed and ANY not in self.allowed:
            raise CommandRefused(
                f"The command {names[0]} is not allowed. Allowed commands: {', '.join(sorted(self.allowed)) or 'none'}"
            )
        for name in names:
            if self.elsewhere:
                private_files.check_elsewhere(name, argv[1:])
            else:
                private_files.check(name, argv[1:], cwd, self.private)
        if not self.blocked and ANY in self.allowed:
            return str(path)  # all programs are allowed, so arguments can get around nothing
        if not listed and any(_INTERPRETERS.fullmatch(name) for name in names):
            raise CommandRefused(
                f"The command {names[0]} runs other programs; with blocked commands it must be allowed by name"
            )
        for name in names:
            self._judge(name, argv[1:], path, cwd, depth, bare=bare)
        if names[0] in _MULTICALL and len(argv) > 1 and argv[1] not in _MULTICALL_QUESTIONS:
            applet, arguments = argv[1], argv[2:]
            if applet in _MULTICALL or applet not in self.allowed | PLAIN_READERS | _PLAIN_APPLETS:
                raise CommandRefused(f"The command {applet} of {names[0]} is not allowed. List {applet} to allow it")
            private_files.check(applet, arguments, cwd, self.private)
            self._judge(applet, arguments, path, cwd, depth, bare=bare)
        return str(path)

    def _judge(self, name: str, arguments: Sequence[str], path: Path, cwd: Path, depth: int, *, bare: bool) -> None:
        """Raise CommandRefused for arguments of a program that are not known to be harmless."""
        place = Place(cwd, (cwd, *self.roots, *self.writable), elsewhere=self.elsewhere)
        reason = hazard(name, arguments, place)
        if not reason and name == "git" and (bare or self.elsewhere):
            reason = "git is not run without the variables that keep a repository from running programs"
        if not reason and name == "git":
            outside = git_rules.outside(str(path), arguments, cwd, (cwd, *self.roots))
            reason = f"git is not run with {outside}" if outside else None
        if reason:
            raise CommandRefused(f"The arguments are not allowed: {reason}")
        if name in launchers.PROGRAMS:
            inner = launchers.inner(name, arguments)
            if inner and depth < 4:
                self.check(inner, cwd, depth + 1, bare=bare or launchers.takes_variables_away(name, arguments))
            elif inner:
                raise CommandRefused(f"The command {name} is nested too deeply")

    def check_input(self, argv: Sequence[str], further: frozenset[str]) -> None:
        """Raise CommandRefused for a program that may treat its input as a program or as file names.

        `further` are names that the configuration adds. A skill that allows every program allows this too.
        """
        if ANY in self.allowed and not self.blocked:
            return
        name = Path(argv[0]).name
        if name in launchers.PROGRAMS:
            inner = launchers.inner(name, argv[1:])
            if inner and name != "xargs":
                return self.check_input(inner, further)
        if name not in PLAIN_READERS | further:
            raise CommandRefused(
                f"{name} must not be given an input here: it could take it for a program, or for names of files. These "
                f"may: {', '.join(sorted((PLAIN_READERS | further) & self.allowed)) or 'none of the allowed ones'}"
            )

    def _named(self, program: str) -> Path:
        """Return a program of another host by its name. A path there has to be listed as it is written."""
        if program in ("", ".", "..") or program.startswith("-"):
            raise CommandRefused(f"{program!r} is no program")
        if "/" in program and program not in self.allowed and not (ANY in self.allowed and not self.blocked):
            raise CommandRefused(f"The command {program} is not allowed. Give the program's name alone")
        return Path(program)

    def _resolve(self, program: str, cwd: Path) -> Path:
        """Return the file to run, without resolving symbolic links.

        A program with many names acts by the name that it is called by.
        """
        if "/" in program:
            path = Path(os.path.normpath(cwd / program))
            folders = {os.path.realpath(folder) for folder in self.search_path}
            if os.path.realpath(path.parent) not in folders:
                raise CommandRefused(
                    f"The command {program} is not in a folder of the search path. Give the program's name alone"
                )
            if not _is_program(path):
                raise CommandRefused(f"The command {program} does not exist or is no program")
            return path
        if program in ("", ".", ".."):
            raise CommandRefused(f"{program!r} is no program")
        for folder in self.search_path:
            path = Path(folder, program)
            if _is_program(path):
                return path
        if program in self.allowed or ANY in self.allowed:
            raise CommandRefused(f"The command {program} is not installed on this host")
        raise CommandRefused(
            f"The command {program} is not allowed. Allowed commands: {', '.join(sorted(self.allowed)) or 'none'}"
        )


def trusted_path(value: str, *, outside: Path = Path("/")) -> tuple[str, ...]:
    """Return the trustworthy folders of a PATH: absolute, existing, not writable by everybody, not in `outside`."""
    workspace = outside.resolve()
    folders: list[str] = []
    for folder in value.split(os.pathsep):
        if not folder.startswith("/") or folder in folders:
            continue
        try:
            real = Path(folder).resolve(strict=True)
            mode = real.stat().st_mode
        except OSError:
            continue
        if (
            stat.S_ISDIR(mode)
            and not mode & stat.S_IWOTH
            and not (real.is_relative_to(workspace) and workspace != Path("/"))
        ):
            folders.append(folder)
    return tuple(folders)


def _is_program(path: Path) -> bool:
    return os.access(path, os.X_OK) and path.is_file()  # first what never raises: its folder may be closed


def _names(path: Path) -> tuple[str, ...]:
    """Return the program's name and those of the files that it links to (awk, mawk).

    A multi-call binary at the end of the links is left out.
    """
    names = [path.name]
    for _ in range(16):
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
        if path.name not in names and path.name not in _MULTICALL:
            names.append(path.name)
    return tuple(names)
